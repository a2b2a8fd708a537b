# Completion of nodepass(1) for fish. The names of the parameters are asked of the program itself.

function __nodepass_words
    set -l word (string trim -l -c '"\'' -- (commandline -ct))
    if string match -qr '://.*[?&][^=&]*$' -- $word
        set -l head (string replace -r '[^?&]*$' '' -- $word)
        nodepass --markdown 2>/dev/null |
            sed -n '/table: parameters/,/<!-- end -->/s/^| `\([a-z0-9]*\)`.*/\1=/p' |
            while read -l name
                echo $head$name
            end
    else if not string match -q '*://*' -- $word
        printf '%s\n' server:// client:// master:// key
    end
end

complete -c nodepass -f -a '(__nodepass_words)'
complete -c nodepass -s h -l help -d 'Show usage, parameters and variables'
complete -c nodepass -l version -d 'Show the version'
