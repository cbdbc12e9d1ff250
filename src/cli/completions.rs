//! `stargate-mirror completions`: prints a completion script for a shell. The scripts for bash, fish and zsh ask
//! `complete-values` for refs, remotes and namespaces.
use clap_complete::Shell;

use super::{
    NAME,
    report::{Exit, Failure},
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror completions bash \\
    > ~/.local/share/bash-completion/completions/stargate-mirror
  stargate-mirror completions zsh > ~/.zfunc/_stargate-mirror
  stargate-mirror completions fish \\
    > ~/.config/fish/completions/stargate-mirror.fish";

/// Options, and the kind of values that complete them.
const VALUES: [(&str, &str); 4] = [
    ("ref", "refs"),
    ("remote", "remotes"),
    ("ns", "namespaces"),
    ("namespace", "namespaces"),
];

/// Functions of bash: the values of a kind that begin with the current word, and the completion of every word. `compgen -W`
/// would run commands in the names of refs.
const BASH: &str = r#"__stargate_mirror_values() {
    local value
    while IFS= read -r value; do
        [[ "${value}" == "${cur}"* ]] && COMPREPLY+=("${value}")
    done < <(stargate-mirror complete-values "$1" -- "${COMP_WORDS[@]}" 2>/dev/null)
}

__stargate_mirror() {
    _stargate__mirror "$@"
    local cur="$2" prev="$3"
    [[ "${cur}" == -* || ("${prev}" == -* && "${prev}" != *=*) ]] && return 0
    case "${COMP_WORDS[1]}" in
        push) __stargate_mirror_values remotes; __stargate_mirror_values refs ;;
        sync) __stargate_mirror_values refs ;;
    esac
    return 0
}

"#;

/// Functions of zsh, one for each kind of values.
const ZSH: &str = r#"
__stargate_mirror_values() {
    local -a values
    values=(${(f)"$(stargate-mirror complete-values "$1" -- "${words[@]}" 2>/dev/null)"})
    compadd -a values
}
_stargate_mirror_refs() { __stargate_mirror_values refs }
_stargate_mirror_remotes() { __stargate_mirror_values remotes || _files }
_stargate_mirror_namespaces() { __stargate_mirror_values namespaces }

"#;

/// Function of fish, and the values of arguments without a name.
const FISH: &str = r#"
function __stargate_mirror_values
    stargate-mirror complete-values $argv[1] -- (commandline -opc) 2>/dev/null
end
complete -c stargate-mirror -n "__fish_stargate_mirror_using_subcommand push" -a "(__stargate_mirror_values remotes; __stargate_mirror_values refs)"
complete -c stargate-mirror -n "__fish_stargate_mirror_using_subcommand sync" -a "(__stargate_mirror_values refs)"
"#;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs the command. `commands` describes the command line.
///
/// # Errors
/// None.
pub fn main(args: &Args, commands: clap::Command) -> Result<Exit, Failure> {
    let mut commands = without_hidden(&commands);
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut commands, NAME, &mut script);
    // clap_complete escapes the hyphen of the name in two different ways, so bash would complete no subcommand.
    let (one, other) = (NAME.replace('-', "__subcmd__"), NAME.replace('-', "__"));
    let script = String::from_utf8_lossy(&script).replace(&one, &other);
    print!(
        "{}",
        match args.shell {
            Shell::Bash => bash(&script),
            Shell::Zsh => zsh(&script),
            Shell::Fish => fish(&script),
            _ => script,
        }
    );
    Ok(Exit::Done)
}

/// Returns what completions need of the command line: options and subcommands, without those that help does not show.
fn without_hidden(commands: &clap::Command) -> clap::Command {
    let shown = commands.get_subcommands().filter(|command| !command.is_hide_set());
    clap::Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .args(commands.get_arguments())
        .subcommands(shown)
}

/// Replaces the files that complete an option by its values.
fn bash(script: &str) -> String {
    let mut script = script
        .replace(" [REMOTE] [REFSPEC]...\"", "\"")
        .replace(" [REF]...\"", "\"")
        .replace("complete -F _stargate__mirror ", "complete -F __stargate_mirror ");
    for (option, kind) in VALUES {
        let case = format!("--{option})\n                    COMPREPLY=(");
        let files = format!("{case}$(compgen -f \"${{cur}}\"))");
        let values = format!("{case})\n                    __stargate_mirror_values {kind}");
        script = script.replace(&files, &values);
    }
    format!("{BASH}{script}")
}

fn zsh(script: &str) -> String {
    let line = |line: &str| {
        let of_option = VALUES
            .iter()
            .find(|(option, _)| line.contains(&format!("--{option}=[")));
        let kind = match of_option {
            Some((_, kind)) => Some(*kind),
            None if line.contains("::remote -- ") => Some("remotes"),
            None if line.contains("::refspecs -- ") || line.contains("::refs -- ") => Some("refs"),
            None => None,
        };
        let line = match kind {
            Some(kind) => line.replace(":_default'", &format!(":_stargate_mirror_{kind}'")),
            None => line.to_owned(),
        };
        format!("{line}\n")
    };
    let script: String = script.lines().map(line).collect();
    script.replacen(
        "autoload -U is-at-least\n",
        &format!("autoload -U is-at-least\n{ZSH}"),
        1,
    )
}

fn fish(script: &str) -> String {
    let line = |line: &str| {
        let values = VALUES
            .iter()
            .find(|(option, _)| line.contains(&format!(" -l {option} ")));
        match values {
            Some((_, kind)) => format!("{line} -a \"(__stargate_mirror_values {kind})\"\n"),
            None => format!("{line}\n"),
        }
    };
    let script: String = script.lines().map(line).collect();
    format!("{script}{FISH}")
}
