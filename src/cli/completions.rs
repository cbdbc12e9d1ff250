//! `stargate-mirror completions`: prints a completion script for a shell.
use clap_complete::Shell;

use super::{
    NAME,
    report::{Exit, Failure},
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror completions bash > ~/.local/share/bash-completion/completions/stargate-mirror
  stargate-mirror completions zsh > ~/.zfunc/_stargate-mirror
  stargate-mirror completions fish > ~/.config/fish/completions/stargate-mirror.fish";

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
pub fn main(args: &Args, mut commands: clap::Command) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut commands, NAME, &mut script);
    // clap_complete escapes the hyphen of the name in two different ways, so bash would complete no subcommand.
    let (one, other) = (NAME.replace('-', "__subcmd__"), NAME.replace('-', "__"));
    print!("{}", String::from_utf8_lossy(&script).replace(&one, &other));
    Ok(Exit::Done)
}
