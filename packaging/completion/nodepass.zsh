#compdef nodepass
# Completion of nodepass(1) for zsh. The names of the parameters are asked of the program itself.

local -a names
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
*)
    compadd key
    compadd -S '' -- server:// client:// master://
    ;;
esac
