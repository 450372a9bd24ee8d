# SPDX-License-Identifier: Apache-2.0
"""Building a Dockerfile: the composition root of its front end, the engine and the store.

Parse, type, lower, solve; every error is told with the line that it belongs to. All steps are
looked up by what they depend on, so that an unchanged build runs none and reads no file's content.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.api.agents import Agents
from wherry.api.bases import BasePolicy
from wherry.api.contexts import ContextReader, Inputs
from wherry.api.epoch import source_date_epoch
from wherry.api.fetching import Fetching
from wherry.api.lazy import fetcher
from wherry.api.naming import cores, repository_name
from wherry.api.recorded import Output, codec
from wherry.api.registries import Registries
from wherry.api.request import BuildRequest
from wherry.api.resolving import Resolver
from wherry.api.snippets import Snippets
from wherry.api.step_choices import StepChoices
from wherry.api.step_options import read_step_options
from wherry.api.step_output import step_output
from wherry.api.step_solving import Solving
from wherry.api.watching import Watch
from wherry.api.workers import Workers
from wherry.engines.local.dry import Planned
from wherry.engines.local.engine import LocalEngine, Solved
from wherry.engines.local.executors import FileExecutors
from wherry.engines.local.files import FileRules, FileSteps
from wherry.engines.local.results import Held
from wherry.engines.local.running import Running
from wherry.engines.local.storage import LayerSettings, Times
from wherry.errors import BuildError, UsageError, WherryError, near
from wherry.events import Level, Message
from wherry.frontends.dockerfile.directives import require_syntax
from wherry.frontends.dockerfile.instructions import Dockerfile as Instructions
from wherry.frontends.dockerfile.lower import lower
from wherry.frontends.dockerfile.parse import parse_leniently
from wherry.frontends.dockerfile.request import Lowered, Request
from wherry.frontends.dockerfile.source import Problem, Problems
from wherry.frontends.dockerfile.typed import checks_of, read_dockerfile, warnings_of
from wherry.fstree.compression import Compression
from wherry.fstree.limits import Limits
from wherry.graph.build import BuildGraph, Lines
from wherry.graph.ops import GitOp, HttpOp, LocalOp
from wherry.oci.canonical import canonical_json
from wherry.oci.platform import host_platform, parse_platform
from wherry.solver.model import Step
from wherry.store.store import Store

if TYPE_CHECKING:
    from wherry.api.travelling_steps import TravellingSteps

_EPOCH_ARG: Final = "SOURCE_DATE_EPOCH"


def make_image(
    request: BuildRequest,
    store: Store,
    registries: Registries,
    caches: TravellingSteps | None = None,
) -> tuple[Output, str]:
    """Build, and give what was made with why it was made: an empty text where nothing changed.

    What the build has begun goes on until `caches` are closed, where there are any: they may have
    to read what steps left. Raises `UsageError` or `SeveralErrors` for a Dockerfile that says
    nothing that can be done, `BuildError` for one whose steps fail, and what bases and downloads
    raise.
    """
    with ExitStack() as closing:
        watch = Watch(request)
        lasting = closing if caches is None else caches.closing
        building = _Building(request, store, registries, lasting, caches)
        graph, solved = building.solve(watch)
        output = building.output(graph, solved)
        watch.record(store, output._replace(warnings=tuple(building.warnings)))
        is_answered = solved.was_there or (caches is not None and caches.answered)
        return output, "" if is_answered else "its steps ran"


def dry_image(
    request: BuildRequest, store: Store, registries: Registries, closing: ExitStack
) -> tuple[str, BuildGraph, tuple[Planned, ...]]:
    """The image's name, its graph, and what a build would make of each vertex.

    Raises as `make_image`, but for what steps raise.
    """
    return _Building(request, store, registries, closing).dry()


class _Solution(NamedTuple):
    """A graph, and the image that came of it."""

    graph: BuildGraph
    solved: Solved


class _Building:
    """One build of one Dockerfile."""

    def __init__(
        self,
        request: BuildRequest,
        store: Store,
        registries: Registries,
        closing: ExitStack,
        caches: TravellingSteps | None = None,
    ) -> None:
        self._caches = caches
        self._request = request
        self._store = store
        self._registries = registries
        self._around = registries.around
        self._limits = Limits.up_to(request.unpack_limit) if request.unpack_limit else Limits()
        self._fetching = Fetching(store, registries, self._limits, closing)
        self._contexts = ContextReader(request, store, self._fetching, closing)
        self._inputs: Inputs = self._contexts.main()
        dockerfile = self._inputs.dockerfile
        self._snippets = Snippets(dockerfile.name, dockerfile.data)
        self._arguments = self._build_arguments()
        self._epoch = self._source_date_epoch()
        self._closing = closing
        self._shared: FileSteps | None = None
        self.warnings: list[str] = []
        self._options = read_step_options(request)
        for text in self._options.warnings:
            self._say(text)

    def solve(self, watch: Watch) -> _Solution:
        """Lower the Dockerfile and run its graph."""
        resolver = Resolver(
            self._request, self._store, self._registries, self._policy(), self._contexts
        )
        lowered = self._lowered(resolver)
        self._warn(lowered.warnings)
        for name in resolver.unused():
            self._say(f"--build-context {name}: no instruction asks for it")
        self._request.trace("lowered")
        watch.look(lowered.graph, resolver, self._inputs.context)
        try:
            return _Solution(lowered.graph, self._run(lowered, resolver))
        except WherryError as error:
            raise self._explained(self._looked_at(error), lowered) from error

    def dry(self) -> tuple[str, BuildGraph, tuple[Planned, ...]]:
        """What building would do."""
        resolver = Resolver(
            self._request, self._store, self._registries, self._policy(), self._contexts
        )
        lowered = self._lowered(resolver)
        self._warn(lowered.warnings)
        engine = self._engine(resolver, reuse=not self._request.no_cache, is_plan=True)
        return repository_name(self._inputs.context.name), lowered.graph, engine.dry(lowered.graph)

    def _run(self, lowered: Lowered, resolver: Resolver) -> Solved:
        request, caches, graph = self._request, self._caches, lowered.graph
        if caches is not None:
            caches.met(graph)
        cached = None if caches is None else caches.cached(self._layer_settings())
        is_delivered = bool(request.outputs or request.load)
        solving = Solving(partial(self._engine, resolver), cached, self._say, is_delivered)
        solved, engine = solving.solve(graph, reuse=not request.no_cache)
        if caches is not None and self._shared is not None:
            caches.built(engine, graph, solved, self._shared)
        return solved

    def _looked_at(self, error: WherryError) -> WherryError:
        """With `--on-error shell`: let the user look at what a failed RUN left, or keep it."""
        if not self._options.on_error:
            return error
        from wherry.api.failed_roots import keep_failed_root, reopened  # noqa: PLC0415 - as said
        from wherry.engines.local.executing import StepFailed  # noqa: PLC0415 - as above

        if not isinstance(error, StepFailed) or error.shell is None or self._shared is None:
            return error
        if self._request.shell is not None:
            self._request.shell(error.shell)
            return error
        name = repository_name(self._inputs.context.name)
        return reopened(error, keep_failed_root(error, self._shared, self._store, name))

    def output(self, graph: BuildGraph, solved: Solved) -> Output:
        """What delivery wants to know."""
        name = repository_name(self._inputs.context.name)
        return step_output(name, graph, solved, self._store)

    def _lowered(self, resolver: Resolver) -> Lowered:
        inputs, request = self._inputs, self._request
        try:
            parsed, problems = parse_leniently(inputs.dockerfile.data)
            require_syntax(parsed)
            dockerfile = read_dockerfile(parsed, problems)
            self._warn((*parsed.warnings, *warnings_of(dockerfile, parsed)))
            self._warn_of_filter(dockerfile)
            platform = parse_platform(request.platform) if request.platform else host_platform()
            asked = Request(
                dockerfile=dockerfile,
                resolver=resolver,
                target=request.target,
                build_args=self._arguments,
                labels=request.labels,
                annotations=request.annotations,
                platform=platform,
                platform_given=bool(request.platform),
                build_platform=host_platform(),
                ignore=inputs.dockerfile.ignore,
                context_place=inputs.context.place,
                no_cache_filter=request.no_cache_filter,
                checks=checks_of(parsed),
                created=self._created(),
                network=self._options.network,
                allowed=self._options.allowed,
                extra_hosts=self._options.hosts,
                shm_size=self._options.shm_size,
                ulimits=self._options.ulimits,
                file=inputs.dockerfile.name,
                go_cache=request.go_cache != "off",
            )
            lowered = lower(asked)
        except Problems as problems:
            raise self._snippets.error(problems.problems) from problems
        except WherryError as error:
            # Of a base or context that an instruction asks for.
            raise self._snippets.quoted(error) from error.__cause__
        self._require_text(lowered)
        return lowered

    def _require_text(self, lowered: Lowered) -> None:
        """An image's configuration is JSON, which holds text only."""
        try:
            canonical_json(lowered.run.as_json()).decode()
        except UnicodeError as error:
            lines = self._inputs.dockerfile.data.split(b"\n")
            bad = next((number for number, line in enumerate(lines, 1) if not _is_text(line)), 0)
            refused = UsageError(
                "the image's configuration would not be UTF-8",
                hint="write the Dockerfile and --build-arg in UTF-8",
            )
            raise self._snippets.placed(refused, Lines(bad, bad)) from error

    def _engine(self, resolver: Resolver, *, reuse: bool, is_plan: bool = False) -> LocalEngine:
        request, store, around = self._request, self._store, self._around
        settings = self._layer_settings()._replace(reuse=reuse)
        cached = None if self._caches is None else self._caches.cached(settings)
        fetch = fetcher(store, self._registries, is_plan=is_plan)
        if cached is not None:
            settings = settings._replace(offered=cached)
            fetch = fetch if is_plan else cached.fetching(fetch)
        workers = Workers(store, around.env, self._say)
        running = Running(store, settings, workers, self._choices(), self._say)
        running.keep_failed = bool(self._options.on_error)
        if self._caches is not None and not is_plan:
            self._caches.attend(running)
        self._closing.callback(running.close)
        shared = self._shared = FileSteps(
            store,
            fetch,
            FileRules(settings, Times(self._epoch or 0, self._epoch), self._limits),
            around.cancel,
            running.reader,
        )
        running.indexes = shared.indexes
        shared.selections = None if cached is None else cached.selections
        sources = _Sources(self._inputs.context.held, resolver, self._fetching)
        return LocalEngine(
            storage=store,
            settings=settings,
            executors=FileExecutors(shared, sources, running, ahead=not cached),
            jobs=settings.workers,
            programs=request.jobs,
            sink=around.sink,
            cancel=around.cancel,
            trace=request.trace,
            beyond=cached,
        )

    def _layer_settings(self) -> LayerSettings:
        return LayerSettings(Compression(), self._request.jobs or cores(), codec())

    def _choices(self) -> StepChoices:
        directory = os.path.join(self._store.path, "agents")
        agents = Agents(self._options.agents, self._around.env, directory, self._around.cancel)
        self._closing.callback(agents.close)
        return StepChoices(self._options, agents)

    def _explained(self, error: WherryError, lowered: Lowered) -> WherryError:
        """The error with the lines of the step that failed."""
        if error.step is None:
            return error
        lines = lowered.graph.vertices[error.step].lines
        if isinstance(error, UsageError):
            # Dockerfile and command line can be read: what a step meets is the build's failure.
            error = BuildError(error.what, why=error.why, hint=error.hint, where=error.where)
        return self._snippets.placed(error, lines)

    def _policy(self) -> BasePolicy:
        place, lock = self._inputs.context.place, None
        if place and os.path.lexists(os.path.join(place, "wherry.lock")):
            from wherry.settings.lock import load_lock  # noqa: PLC0415 - few have one

            lock = load_lock(place)
        if lock is None and self._request.locked:
            raise BuildError(
                "there is no wherry.lock beside the Dockerfile",
                why="--locked takes every base from it",
                hint="name the bases by digest and leave out --locked",
            )
        return BasePolicy(lock, self._request.locked, self._request.pull, any_platform=True)

    def _build_arguments(self) -> dict[str, str]:
        """`--build-arg`, and the environment's value for a name without one."""
        env = self._around.env
        found: dict[str, str] = {}
        for name, value in self._request.build_args:
            if value is not None:
                found[name] = value
            elif name in env:
                found[name] = env[name]
        if env.get(_EPOCH_ARG):
            # As buildx does.
            found.setdefault(_EPOCH_ARG, env[_EPOCH_ARG])
        return found

    def _source_date_epoch(self) -> int | None:
        text = self._arguments.get(_EPOCH_ARG) or self._around.env.get(_EPOCH_ARG, "")
        return source_date_epoch({_EPOCH_ARG: text})

    def _created(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._epoch or 0))

    def _warn(self, problems: tuple[Problem, ...]) -> None:
        for problem in problems:
            hint = f"; {problem.hint}" if problem.hint else ""
            place = self._snippets.place(problem.range.start.line)
            self._say(f"{place}: {problem.message}{hint}")

    def _warn_of_filter(self, dockerfile: Instructions) -> None:
        """A stage that is misspelt would be taken from the cache without a word."""
        names = tuple(stage.base.name for stage in dockerfile.stages if stage.base.name)
        known = {name.lower() for name in names}
        for name in self._request.no_cache_filter:
            if name.lower() not in known:
                hint = near(name, names)
                text = f"--no-cache-filter {name}: there is no such stage"
                self._say(f"{text}; {hint}" if hint else text)

    def _say(self, text: str) -> None:
        self.warnings.append(text)
        self._around.sink(Message(Level.WARNING, text))


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Sources(NamedTuple):
    """The engine's sources: contexts and downloads of this build."""

    main: Held
    resolver: Resolver
    fetching: Fetching

    def local(self, op: LocalOp) -> Held:
        """The main context, or a named one."""
        return self.main if op.name == "context" else self.resolver.held[op.name]

    def http(self, op: HttpOp, step: Step) -> Held:
        """A download."""
        return self.fetching.http(op, step)

    def git(self, op: GitOp, step: Step) -> Held:
        """A git tree."""
        return self.fetching.git_tree(op, step)
