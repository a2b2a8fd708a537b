#compdef nodepass
# Completion of nodepass(1) for zsh. The names of the parameters are asked of the program itself.

local -a names

if [[ $words[2] == ctl && $CURRENT -gt 2 && $PREFIX != *://* ]]; then
    local -a commands=(ls show add rm start stop restart reset set alias logs events top info key tcping help)
    local command=${words[(r)(${(j:|:)commands})]}
    case $command,$PREFIX in
    *,-*) compadd -- --api --key --key-file --cacert --insecure --json --alias --follow --count --every --wait --yes --help ;;
    ,*) compadd -a commands ;;
    key,*) compadd rotate ;;
    add,*) compadd -S '' -- server:// client:// ;;
    info,* | tcping,* | help,*) ;;
    *)
        names=(all ${(f)"$(nodepass ctl ls --json 2>/dev/null | grep -o '"\(id\|alias\)":"[^"\\]\+"' | cut -d '"' -f 4)"})
        compadd -a names
        ;;
    esac
    return
fi

local last=${PREFIX##*[?&]} # the parameter that is being written
case $PREFIX in
*://*[?\&]*)
    compset -P '*[?&]'
    case $last in
    (crt|key|ca)=*)
        compset -P '*='
        _files
        ;;
    *=*) ;;
    *)
        names=(${(f)"$(nodepass --markdown 2>/dev/null |
            sed -n '/table: parameters/,/<!-- end -->/s/^| `\([a-z0-9]*\)`.*/\1=/p')"})
        compadd -S '' -a names
        ;;
    esac
    ;;
*://*) ;;
-*) compadd -- --help --version ;;
@*)
    compset -P '@'
    _files
    ;;
*)
    compadd key ctl
    compadd -S '' -- server:// client:// master://
    ;;
esac
