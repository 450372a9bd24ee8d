# SPDX-License-Identifier: Apache-2.0
"""BuildKit's build checks under their own names: those that can be told without any registry.

All of v0.33.1 but one: `InvalidBaseImagePlatform` compares what the base's config says with the
platform of the build, which takes the base; builds warn of it (`frontends.dockerfile.origins`).
"""

from __future__ import annotations

from typing import Final

from wherry.advice.model import Need, Rule, Severity
from wherry.advice.rules.build_check_commands import (
    copy_ignored_file,
    json_args_recommended,
    multiple_instructions,
    workdir_relative_path,
)
from wherry.advice.rules.build_check_forms import (
    consistent_casing,
    expose_invalid_format,
    expose_proto_casing,
    legacy_key_value,
    maintainer_deprecated,
    no_empty_continuation,
)
from wherry.advice.rules.build_check_stages import (
    duplicate_stage_name,
    from_as_casing,
    from_platform_flag_const,
    invalid_default_arg_in_from,
    redundant_target_platform,
    reserved_stage_name,
    stage_name_casing,
    undefined_arg_in_from,
)
from wherry.advice.rules.build_check_variables import (
    invalid_description,
    secrets_used,
    undefined_var,
)

_WARNING: Final = Severity.WARNING
_CONTEXT: Final = frozenset((Need.CONTEXT,))

RULES: Final = (
    Rule("StageNameCasing", "stage-name-casing", _WARNING,
         "a stage's name has upper case letters", stage_name_casing, mends=True),
    Rule("FromAsCasing", "from-as-casing", _WARNING,
         "AS is not written as FROM is", from_as_casing, mends=True),
    Rule("NoEmptyContinuation", "no-empty-continuation", _WARNING,
         "empty lines inside an instruction", no_empty_continuation, mends=True),
    Rule("ConsistentInstructionCasing", "consistent-instruction-casing", _WARNING,
         "keywords in upper and in lower case", consistent_casing, mends=True),
    Rule("DuplicateStageName", "duplicate-stage-name", _WARNING,
         "two stages have one name", duplicate_stage_name),
    Rule("ReservedStageName", "reserved-stage-name", _WARNING,
         "a stage is called scratch or context", reserved_stage_name),
    Rule("JSONArgsRecommended", "json-args-recommended", _WARNING,
         "CMD or ENTRYPOINT in shell form", json_args_recommended, mends=True),
    Rule("MaintainerDeprecated", "maintainer-deprecated", _WARNING,
         "MAINTAINER instead of a label", maintainer_deprecated, mends=True),
    Rule("UndefinedArgInFrom", "undefined-arg-in-from", _WARNING,
         "FROM uses a variable that no ARG declares", undefined_arg_in_from),
    Rule("WorkdirRelativePath", "workdir-relative-path", _WARNING,
         "the first WORKDIR goes on from the base's", workdir_relative_path),
    Rule("UndefinedVar", "undefined-var", _WARNING,
         "a variable that nothing sets", undefined_var),
    Rule("MultipleInstructionsDisallowed", "multiple-instructions-disallowed", _WARNING,
         "CMD, ENTRYPOINT or HEALTHCHECK twice in a stage", multiple_instructions),
    Rule("LegacyKeyValueFormat", "legacy-key-value-format", _WARNING,
         "ENV or LABEL without =", legacy_key_value, mends=True),
    Rule("RedundantTargetPlatform", "redundant-target-platform", _WARNING,
         "--platform says what is so without it", redundant_target_platform, mends=True),
    Rule("SecretsUsedInArgOrEnv", "secrets-used-in-arg-or-env", _WARNING,
         "ARG or ENV with the name of a secret", secrets_used),
    Rule("InvalidDefaultArgInFrom", "invalid-default-arg-in-from", _WARNING,
         "FROM names no image unless an ARG is given", invalid_default_arg_in_from),
    Rule("FromPlatformFlagConstDisallowed", "from-platform-flag-const-disallowed", _WARNING,
         "--platform holds a stage to one platform", from_platform_flag_const),
    Rule("CopyIgnoredFile", "copy-ignored-file", _WARNING,
         "COPY of what the ignore file hides", copy_ignored_file, _CONTEXT),
    Rule("ExposeProtoCasing", "expose-proto-casing", _WARNING,
         "a protocol of EXPOSE has upper case letters", expose_proto_casing, mends=True),
    Rule("ExposeInvalidFormat", "expose-invalid-format", _WARNING,
         "an address or a host's port in EXPOSE", expose_invalid_format, mends=True),
)  # fmt: skip
"""In the order of BuildKit's ruleset.go."""

EXPERIMENTAL: Final = (
    Rule("InvalidDefinitionDescription", "invalid-definition-description", _WARNING,
         "a comment above ARG or FROM that describes something else", invalid_description,
         experimental=True),
)  # fmt: skip
"""Asked by name alone, or where the file's `# check=experimental=` names them (or `all`)."""
