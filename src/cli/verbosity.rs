//! `-q` and `-v`, which every command has.
use clap::ArgAction;

/// Amount of output.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Verbosity {
    /// Print errors only; requested JSON is still printed
    #[arg(short, long, global = true, display_order = 900)]
    quiet: bool,
    /// Print more, and log at level info; -vv logs at level debug
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 901)]
    verbose: u8,
}

/// Log levels, from the fewest lines to the most.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

impl Verbosity {
    /// Returns true for `-q`.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Returns true for `-v`, unless `-q` is given, too.
    pub fn is_verbose(self) -> bool {
        self.verbose > 0 && !self.quiet
    }

    /// Returns the log level of a command whose level is `default`.
    pub fn log_level(self, default: &'static str) -> &'static str {
        if self.quiet {
            return LEVELS[0];
        }
        let default = LEVELS.iter().position(|level| *level == default).unwrap_or_default();
        LEVELS[(default + usize::from(self.verbose)).min(LEVELS.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_and_verbose_move_the_log_level() {
        let level = |quiet, verbose, default| Verbosity { quiet, verbose }.log_level(default);
        assert_eq!([level(false, 0, "warn"), level(false, 0, "info")], ["warn", "info"]);
        assert_eq!([level(false, 1, "warn"), level(false, 1, "info")], ["info", "debug"]);
        assert_eq!([level(true, 0, "info"), level(true, 3, "warn")], ["error", "error"]);
        assert_eq!(level(false, 9, "warn"), "trace");
    }
}
