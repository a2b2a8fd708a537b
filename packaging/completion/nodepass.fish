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
    else if string match -q '@*' -- $word
        printf '@%s\n' (__fish_complete_path (string sub -s 2 -- $word))
    else if not string match -q '*://*' -- $word
        printf '%s\n' server:// client:// master:// key ctl
    end
end

function __nodepass_names
    nodepass ctl ls --json 2>/dev/null | string match -arg '"(?:id|alias)":"([^"\\\\]+)"'
end

set -l commands ls show add rm start stop restart reset set alias logs events top info key tcping help
set -l named ls show rm start stop restart reset set alias logs events top
complete -c nodepass -f -n 'not __fish_seen_subcommand_from ctl' -a '(__nodepass_words)'
complete -c nodepass -f -n "__fish_seen_subcommand_from ctl; and not __fish_seen_subcommand_from $commands" -a "$commands"
complete -c nodepass -f -n "__fish_seen_subcommand_from ctl; and __fish_seen_subcommand_from $named" \
    -a 'all (__nodepass_names)'
complete -c nodepass -f -n '__fish_seen_subcommand_from ctl; and __fish_seen_subcommand_from key' -a rotate
complete -c nodepass -n '__fish_seen_subcommand_from ctl' -l api -x -d 'Address of the API'
complete -c nodepass -n '__fish_seen_subcommand_from ctl' -l key-file -r -F -d "File with the API's key"
complete -c nodepass -n '__fish_seen_subcommand_from ctl' -l cacert -r -F -d 'Authorities for its certificate'
complete -c nodepass -n '__fish_seen_subcommand_from ctl' -l insecure -d 'Do not look at its certificate'
complete -c nodepass -n '__fish_seen_subcommand_from ctl' -l json -d 'What the API says'
complete -c nodepass -n '__fish_seen_subcommand_from ctl; and __fish_seen_subcommand_from add start' -l wait -x \
    -d 'How long to wait for what is started'
complete -c nodepass -n '__fish_seen_subcommand_from ctl' -s f -l follow -d 'Go on'
complete -c nodepass -s h -l help -d 'Show usage, parameters and variables'
complete -c nodepass -l version -d 'Show the version'
