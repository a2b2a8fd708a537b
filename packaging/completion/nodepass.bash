# Completion of nodepass(1) for bash. The names of the parameters are asked of the program itself.

# _nodepass_parameters: their names, each with its "=".
_nodepass_parameters() {
    nodepass --markdown 2>/dev/null |
        sed -n '/table: parameters/,/<!-- end -->/s/^| `\([a-z0-9]*\)`.*/\1=/p'
}

_nodepass() {
    # The word is cut out of the line by hand: bash cuts at ':' and '=', which every URL has.
    local line=${COMP_LINE:0:COMP_POINT} word quote="" head last i
    word=${line##* }
    case $word in \"* | \'*) quote=${word:0:1} word=${word:1} ;; esac
    last=${word##*[?&]} # the parameter that is being written
    COMPREPLY=()
    case $word in
    *://*[?\&]*)
        case $last in
        crt=* | key=* | ca=*)
            head=${word%"${last#*=}"}
            mapfile -t COMPREPLY < <(compgen -P "$head" -f -- "${last#*=}")
            ;;
        *=*) ;;
        *)
            head=${word%"$last"}
            mapfile -t COMPREPLY < <(compgen -P "$head" -W "$(_nodepass_parameters)" -- "$last")
            ;;
        esac
        ;;
    *://*) ;;
    -*) mapfile -t COMPREPLY < <(compgen -W "--help --version" -- "$word") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "server:// client:// master:// key" -- "$word") ;;
    esac
    if [ -z "$quote" ]; then
        # What bash has cut off as words of their own must not be given back a second time.
        case $word in *[:=]*) head=${word%"${word##*[:=]}"} ;; *) head="" ;; esac
        for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=${COMPREPLY[i]#"$head"}; done
    fi
    case ${COMPREPLY[0]-} in key | --*) ;; *) compopt -o nospace 2>/dev/null ;; esac
}

complete -F _nodepass nodepass
