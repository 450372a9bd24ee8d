# SPDX-License-Identifier: Apache-2.0
"""Templates: what is read, what is refused and how, and what becomes of the names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import UsageError
from wherry.oci.reference import parse_reference
from wherry.settings.templates import GIT_NAMES, Values, parse, tag_text

VALUES = Values(
    facts={
        "Version": "v1.2.3+dirty",
        "Commit": "0123456789abcdef",
        "Date": "2026-03-04T04:06:07Z",
        "Git.Branch": "fix/1",
        "Git.IsDirty": "true",
    },
    env={"NAME": "shop", "EMPTY": "", "REGISTRY": "registry.example.com:5000/team"},
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ""),
        ("plain } text }} of { braces", "plain } text }} of { braces"),
        ("v{{.Version}}-{{ .Env.NAME }}!", "vv1.2.3+dirty-shop!"),
        ("{{\n.Commit\t}}{{.Date}}", "0123456789abcdef2026-03-04T04:06:07Z"),
        ("-X main.dirty={{.Git.IsDirty}}", "-X main.dirty=true"),
        ('{{"{{"}}.Version}} and {{`"}}"`}}', '{{.Version}} and "}}"'),
        ("[{{.Env.EMPTY}}]", "[]"),
        ('{{index .Env "NAME"}}[{{ index  .Env `NOT_SET` }}]', "shop[]"),
        ("{{.Env.NAME}}}}", "shop}}"),
    ],
)
def test_rendered(text: str, wanted: str) -> None:
    assert parse(text).render(VALUES) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{{.Env.REGISTRY}}/api:{{.Version}}", "registry.example.com:5000/team/api:v1.2.3-dirty"),
        ("shop/api:{{.Git.Branch}}-{{.Version}}", "shop/api:fix-1-v1.2.3-dirty"),
        ("localhost:5000/{{.Env.NAME}}:1", "localhost:5000/shop:1"),
    ],
)
def test_a_reference_gets_tags_that_registries_take(text: str, wanted: str) -> None:
    rendered = parse(text).render_reference(VALUES)
    assert rendered == wanted
    parse_reference(rendered)


@given(st.text(max_size=40))
def test_tag_text_holds_only_what_a_tag_can(text: str) -> None:
    assert len(tag_text(text)) == len(text)
    parse_reference(f"a/b:x{tag_text(text)}")


def test_inputs_are_known_before_anything_is_rendered() -> None:
    template = parse("{{.Env.B}}{{.Env.A}}{{.Env.B}}")
    assert template.uses_env == ("B", "A")
    assert not template.uses_git
    assert not template.uses_date
    assert not parse("{{.Date}}").uses_git
    assert parse("{{.Date}}").uses_date
    for name in (*GIT_NAMES, "Version", "Commit"):
        assert parse(f"{{{{.{name}}}}}").uses_git
    assert not parse("no names {{`.Version`}}").uses_git


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("a{{.Version", "'{{' without '}}' in 'a{{.Version', character 2", '{{"{{"}}'),
        ("{{.Vesion}}", "{{.Vesion}}", "did you mean '.Version'?"),
        ("{{.version}}", "{{.version}}", "did you mean '.Version'?"),
        ("{{.Git.Comit}}", "{{.Git.Comit}}", "did you mean '.Git."),
        ("{{.Tag}}", "{{.Tag}}", "here it is {{.Git.Tag}}"),
        ("{{.Xyzzy}}", "{{.Xyzzy}}", "known: .Version"),
        ("{{.GoEnv.GOOS}}", "{{.GoEnv.GOOS}}", "ko alone has it"),
        ("{{.Env}}", "{{.Env}}", "{{.Env.NAME}}"),
        ("{{.Env.A.B}}", "{{.Env.A.B}}", "known"),
        ("{{Version}}", "'Version' without a dot", "write {{.Version}}"),
        ("{{}}", "nothing between the braces", "only names"),
        ("{{.Version | upper}}", "pipes", "only names"),
        ('{{or .Env.A "x"}}', "functions such as 'or'", "only names"),
        ('{{index .Git "Tag"}}', "functions such as 'index'", "only names"),
        ('{{index .Env "1A"}}', "{{.Env.1A}}", "known"),
        ('{{if .Env.A}}x{{end}}', "'if'", "only names"),
        ("{{/* why */}}", "comments", "only names"),
        ("{{- .Version }}", "trims", "only names"),
        ("{{$x}}", "variables", "only names"),
        ("{{.Env A}}", "arguments", "only names"),
        ("{{{.Version}}}", "do not know this", "only names"),
        ('{{"a\\n"}}', "do not know this", "only names"),
        ("{{.Vers\u00edon}}", "do not know this", "only names"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_language_is_named(text: str, what: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert repr(text) in caught.value.what


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Commit", "git is not installed"),
        ("Git.Tag", "git is not installed"),
        ("Date", "git is not installed"),
        ("Env.LDFLAG", "LDFLAG is not set"),
    ],
)
def test_a_missing_value_is_an_error_with_its_place_and_never_empty(name: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(f"x={{{{.{name}}}}}").render(Values(missing="git is not installed"))
    assert f"{{{{.{name}}}}} has no value in 'x=" in caught.value.what
    assert "character 3" in caught.value.what
    assert caught.value.why == why
    assert caught.value.hint


def test_a_repository_without_tags_has_no_git_tag() -> None:
    with pytest.raises(UsageError) as caught:
        parse("{{.Git.Tag}}").render(VALUES)
    assert "no commit up to this one has a tag" in caught.value.why


def test_values_do_not_show_the_environment() -> None:
    assert "hunter2" not in repr(Values(env={"TOKEN": "hunter2"}))


@given(st.text(alphabet='{}."`VersionEnv x|', max_size=30))
def test_any_text_is_a_template_or_a_usage_error(text: str) -> None:
    try:
        template = parse(text)
    except UsageError as error:
        assert "{{" in text
        assert error.hint
        return
    if "{{" not in text:
        assert template.render(Values()) == text
