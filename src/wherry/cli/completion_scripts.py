# SPDX-License-Identifier: Apache-2.0
"""The scripts that make bash, zsh and fish ask `wherry completion words`."""

from __future__ import annotations

from typing import Final

_BASH: Final = r"""# bash completion for wherry: source <(wherry completion bash)
_wherry() {
    local line words current kind value breaks head
    COMPREPLY=()
    # bash takes words apart at = and : as well, which are parts of a word here.
    read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
    [[ ${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]] && words+=("")
    current=${words[${#words[@]}-1]}
    breaks=
    [[ $COMP_WORDBREAKS == *=* ]] && breaks+='='
    [[ $COMP_WORDBREAKS == *:* ]] && breaks+=':'
    head=
    [[ -n $breaks && $current == *["$breaks"]* ]] && head=${current%"${current##*["$breaks"]}"}
    {
        read -r kind
        while IFS= read -r line; do
            value=${line%%$'\t'*}
            COMPREPLY+=("${value#"$head"}")
        done
    } < <(wherry completion words -- "${words[@]:1}" 2>/dev/null)
    case $kind in
    *files*)
        while IFS= read -r line; do COMPREPLY+=("$line"); done \
            < <(compgen -f -- "${current##*=}")
        ;;
    *directories*)
        while IFS= read -r line; do COMPREPLY+=("$line"); done \
            < <(compgen -d -- "${current##*=}")
        ;;
    esac
    if type compopt >/dev/null 2>&1; then
        [[ $kind == *open* ]] && compopt -o nospace
        [[ $kind == *files* || $kind == *directories* ]] && compopt -o filenames
    fi
    return 0
}
complete -F _wherry wherry
"""

_ZSH: Final = r"""#compdef wherry
# zsh completion for wherry: source <(wherry completion zsh), or as _wherry in a directory of fpath
_wherry() {
    local -a lines values shown close
    local line kind
    lines=("${(@f)$(wherry completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    kind=$lines[1]
    shift lines
    for line in $lines; do
        [[ -n $line ]] || continue
        values+=("${line%%$'\t'*}")
        shown+=("${line/$'\t'/  -- }")
    done
    shown=("${(@)shown%  -- }")
    [[ $kind == *open* ]] && close=(-S '')
    (( $#values )) && compadd "${(@)close}" -l -d shown -a values
    case $kind in
    *files*) compset -P '*='; _files ;;
    *directories*) compset -P '*='; _files -/ ;;
    esac
}
if [[ $funcstack[1] == _wherry ]]; then
    _wherry "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _wherry wherry
fi
"""

_FISH: Final = r"""# fish completion for wherry: wherry completion fish | source
function __wherry_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (wherry completion words -- $before[2..] "$current" 2>/dev/null)
    set -l head (string replace -r '[^=]*$' '' -- "$current")
    set -l tail (string replace -r '^.*=' '' -- "$current")
    switch "$lines[1]"
        case '*files*'
            for place in (__fish_complete_path "$tail")
                echo $head$place
            end
        case '*directories*'
            for place in (__fish_complete_directories "$tail" '')
                echo $head$place
            end
    end
    printf '%s\n' $lines[2..]
end
complete -c wherry -f -a '(__wherry_complete)'
"""

SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
