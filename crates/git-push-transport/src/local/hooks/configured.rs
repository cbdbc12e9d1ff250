//! Hooks in git's configuration (git-config, *hook.&lt;friendly-name&gt;.command*), which git runs since 2.54: those of an event
//! in the order in which they name it, before the file of the hook.
use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};

/// Sections of the configuration, by their friendly names.
#[derive(Debug, Default)]
struct Sections {
    commands: BTreeMap<BString, BString>,
    /// Names of the sections of each event, in order.
    events: BTreeMap<BString, Vec<BString>>,
    /// Values of `enabled`, for sections and for events.
    enabled: BTreeMap<BString, bool>,
    /// Names with a key that only sections have.
    friendly: BTreeSet<BString>,
}

/// Returns the commands for each event, in order.
///
/// # Errors
/// A section names an event and has no command, as text.
pub(super) fn commands(config: &gix::config::File) -> Result<BTreeMap<BString, Vec<BString>>, String> {
    let sections = Sections::of(config);
    let mut commands = BTreeMap::new();
    for (event, names) in &sections.events {
        let is_on = |name: &BStr| sections.enabled.get(name).copied().unwrap_or(true);
        let mut lines = Vec::new();
        for name in names.iter().filter(|name| is_on(name.as_bstr())) {
            let line = sections.commands.get(name);
            let line = line.ok_or_else(|| format!("hook.{name}.event is set, and hook.{name}.command is not"))?;
            lines.push(line.clone());
        }
        // A name that is no section switches off the event.
        if sections.friendly.contains(event) || is_on(event.as_bstr()) {
            commands.insert(event.clone(), lines);
        }
    }
    commands.retain(|_, lines: &mut Vec<BString>| !lines.is_empty());
    Ok(commands)
}

impl Sections {
    fn of(config: &gix::config::File) -> Self {
        let mut sections = Sections::default();
        for section in config.sections_by_name("hook").into_iter().flatten() {
            let Some(name) = section.header().subsection_name() else {
                continue;
            };
            for event in section.values("event") {
                sections.add_event(name, event);
            }
            if let Some(command) = section.value("command") {
                sections.commands.insert(name.into(), command);
            }
            // Git ignores other values.
            let enabled = section.values("enabled").into_iter();
            let mut enabled = enabled.filter_map(|value| gix::config::Boolean::try_from(value.as_bstr()).ok());
            if let Some(enabled) = enabled.next_back() {
                sections.enabled.insert(name.into(), enabled.0);
            }
            let is_friendly = ["command", "event", "parallel"];
            if is_friendly.iter().any(|key| section.contains_value_name(key)) {
                sections.friendly.insert(name.into());
            }
        }
        sections
    }

    /// Adds a section to an event, or moves it to its end. An empty value removes it from all.
    fn add_event(&mut self, name: &BStr, event: BString) {
        if event.is_empty() {
            self.events
                .values_mut()
                .for_each(|names| names.retain(|known| known != name));
            return;
        }
        let names = self.events.entry(event).or_default();
        names.retain(|known| known != name);
        names.push(name.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, event: &str) -> Result<Vec<String>, String> {
        let metadata = gix::config::file::Metadata::from(gix::config::Source::Local);
        let file = gix::config::File::from_bytes_no_includes(text.as_bytes(), metadata, Default::default());
        let commands = commands(&file.expect("a configuration"))?;
        let of_event = commands.get(BStr::new(event)).into_iter().flatten();
        Ok(of_event.map(ToString::to_string).collect())
    }

    #[test]
    fn sections_of_an_event_come_in_the_order_in_which_they_name_it_last() {
        let text = "[hook \"a\"]\n\tcommand = old\n\tevent = update\n\tevent = pre-receive\n\
                    [hook \"b\"]\n\tcommand = two\n\tevent = update\n\
                    [hook \"c\"]\n\tcommand = three\n\tevent = update\n\tevent =\n\
                    [hook \"d\"]\n\tcommand = four\n\tevent = update\n\tenabled = no\n\
                    [hook \"a\"]\n\tcommand = one\n\tevent = update\n";
        assert_eq!(of(text, "update").unwrap(), ["two", "one"]);
        assert_eq!(of(text, "pre-receive").unwrap(), ["one"]);
        let off = format!("{text}[hook \"update\"]\n\tenabled = false\n");
        assert_eq!(of(&off, "update").unwrap(), Vec::<String>::new());
        assert_eq!(of(&off, "pre-receive").unwrap(), ["one"]);
        let no_command = "[hook \"a\"]\n\tevent = update\n";
        assert!(of(no_command, "pre-receive").unwrap_err().contains("hook.a.command"));
        assert_eq!(
            of(&format!("{no_command}\tenabled = off\n"), "update").unwrap(),
            Vec::<String>::new()
        );
    }
}
