# Completion of nodepass(1) for bash. The names of the parameters are asked of the program itself.

# _nodepass_parameters: their names, each with its "=".
_nodepass_parameters() {
    nodepass --markdown 2>/dev/null |
        sed -n '/table: parameters/,/<!-- end -->/s/^| `\([a-z0-9]*\)`.*/\1=/p'
}

# _nodepass_names: ids and aliases of the instances of the master that runs here.
_nodepass_names() {
    nodepass ctl ls --json 2>/dev/null | grep -o '"\(id\|alias\)":"[^"\\ ]\+"' | cut -d '"' -f 4
}

# _nodepass_ctl <word>: what may follow "nodepass ctl".
_nodepass_ctl() {
    local word=$1 command="" i
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in -*) ;; *) command=${COMP_WORDS[i]} && break ;; esac
    done
    case ${COMP_WORDS[COMP_CWORD - 1]} in
    --key-file | --cacert)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    esac
    case $command,$word in
    *,-*)
        mapfile -t COMPREPLY < <(compgen -W "--api --key --key-file --cacert --insecure --json --alias --follow
            --count --every --wait --yes --help" -- "$word")
        ;;
    ,*)
        mapfile -t COMPREPLY < <(compgen -W "ls show add rm start stop restart reset set alias logs events top info
            key tcping help" -- "$word")
        ;;
    key,*) mapfile -t COMPREPLY < <(compgen -W "rotate" -- "$word") ;;
    add,*) mapfile -t COMPREPLY < <(compgen -W "server:// client://" -- "$word") && compopt -o nospace ;;
    rm,* | start,* | stop,* | restart,* | reset,* | ls,* | show,* | logs,* | events,* | top,*)
        mapfile -t COMPREPLY < <(compgen -W "all $(_nodepass_names)" -- "$word")
        ;;
    set,* | alias,*) mapfile -t COMPREPLY < <(compgen -W "$(_nodepass_names)" -- "$word") ;;
    esac
}

_nodepass() {
    # The word is cut out of the line by hand: bash cuts at ':' and '=', which every URL has.
    local line=${COMP_LINE:0:COMP_POINT} word quote="" head last i
    word=${line##* }
    case $word in \"* | \'*) quote=${word:0:1} word=${word:1} ;; esac
    last=${word##*[?&]} # the parameter that is being written
    COMPREPLY=()
    if [ "${COMP_WORDS[1]-}" = ctl ] && [ "$COMP_CWORD" -gt 1 ] && [[ $word != *://* ]]; then
        _nodepass_ctl "$word"
        return
    fi
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
    @*) mapfile -t COMPREPLY < <(compgen -P @ -f -- "${word#@}") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "server:// client:// master:// key ctl" -- "$word") ;;
    esac
    if [ -z "$quote" ]; then
        # What bash has cut off as words of their own must not be given back a second time.
        case $word in *[:=]*) head=${word%"${word##*[:=]}"} ;; *) head="" ;; esac
        for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=${COMPREPLY[i]#"$head"}; done
    fi
    case ${COMPREPLY[0]-} in key | ctl | --* | @*) ;; *) compopt -o nospace 2>/dev/null ;; esac
}

complete -F _nodepass nodepass
