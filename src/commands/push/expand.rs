//! From what `push` was given to the files: folders are walked through, and the list of names is read.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::arguments::{Argument, Missing, is_named_itself};
use super::finder::Finder;
use super::list::List;
use super::spool::{Spooled, spool};
use crate::config::Layout;
use crate::exit::{Exit, Fatal};
use crate::file::{Root, Settled, look_at};
use crate::filter::Filter;
use crate::watch::settle::Rules;
use crate::watch::{WalkEvent, Walker};

/// Something that an argument, or a name of the list, stands for.
pub(super) enum Item {
    /// A file, and its path as it was typed.
    File(Settled, PathBuf),
    /// The file to which standard input was written.
    StandardInput(Spooled),
    /// Something that is missing, or that can't be read.
    Missing(Missing),
}

/// All that a push was given.
pub(super) struct Given {
    pub(super) arguments: Vec<Argument>,
    /// The arguments that nothing was found for.
    pub(super) missing: Vec<Missing>,
    pub(super) list: Option<(List, Finder)>,
    /// How old the content of a file must be.
    pub(super) min_age: Duration,
}

/// How many of the names stood for something.
#[derive(Debug, Default)]
pub(in crate::commands) struct Named {
    pub(in crate::commands) found: u64,
    missing: u64,
    /// Why the first of these was not found.
    first: String,
}

impl Named {
    pub(in crate::commands) fn add_missing(&mut self, missing: &Missing) {
        self.missing += 1;
        if self.first.is_empty() {
            self.first.clone_from(&missing.why);
        }
    }

    /// How many stood for nothing.
    pub(in crate::commands) fn missing(&self) -> u64 {
        self.missing
    }

    /// An error where nothing that was named exists.
    pub(in crate::commands) fn any(self) -> Result<(), Fatal> {
        match (self.found, self.missing) {
            (1.., _) | (_, 0) => Ok(()),
            (_, 1) => Err(Fatal::new(Exit::Missing, self.first)),
            (_, more) => {
                let why =
                    format!("none of the {more} files that were named can be found; of the first one: {}", self.first);
                Err(Fatal::new(Exit::Missing, why))
            }
        }
    }
}

/// Sends all files that were given, in their order, as fast as the receiver takes them: the arguments, each file once, then those of the
/// list.
pub(super) async fn expand(given: Given, items: mpsc::Sender<Item>) -> Result<Named, Fatal> {
    let Given { mut arguments, missing, list, min_age } = given;
    let mut sending =
        Sending { items, rules: Rules::new(Duration::ZERO).with_min_age(min_age), named: Named::default() };
    for missing in missing {
        sending.missing(missing).await;
    }
    // The patterns of a shell may overlap.
    let mut named = HashSet::new();
    arguments.retain(|argument| argument.place().is_none_or(|place| named.insert(place)));
    for argument in arguments {
        sending.named.found += 1;
        match argument {
            Argument::File(file, typed) => sending.file(file, typed).await,
            Argument::Folder(folder) => {
                let is_named = |file: &Path| is_named_itself(folder.root.path(), file, folder.layout, &named);
                sending.folder(&folder, is_named).await?;
            }
            Argument::StandardInput { name, spool: folder, locks } => {
                sending.item(Item::StandardInput(spool(name, folder, &locks).await?)).await;
            }
        }
    }
    if let Some((list, finder)) = list {
        sending.list(list, finder).await?;
    }
    Ok(sending.named)
}

struct Sending {
    items: mpsc::Sender<Item>,
    rules: Rules,
    named: Named,
}

/// A folder that is named: all files in it that the filter takes.
pub(in crate::commands) struct NamedFolder {
    pub(in crate::commands) root: Arc<Root>,
    pub(in crate::commands) filter: Arc<Filter>,
    pub(in crate::commands) layout: Layout,
    pub(in crate::commands) typed: PathBuf,
}

impl Sending {
    /// The receiver is dropped when the upload has been given up, which the upload reports itself.
    async fn item(&self, item: Item) {
        self.items.send(item).await.unwrap_or_default();
    }

    async fn missing(&mut self, missing: Missing) {
        self.named.add_missing(&missing);
        self.item(Item::Missing(missing)).await;
    }

    async fn file(&self, file: Settled, typed: PathBuf) {
        if let Some(file) = self.old_enough(&file.root, vec![file.relative.clone()]).await.pop() {
            self.item(Item::File(file, typed)).await;
        } else {
            tracing::warn!("{} is younger than min_age, and is left", typed.display());
        }
    }

    /// Sends the files of a folder, without those that are named themselves.
    async fn folder(&self, folder: &NamedFolder, is_named: impl Fn(&Path) -> bool) -> Result<(), Fatal> {
        let NamedFolder { root, filter, typed, .. } = folder;
        let (sender, mut walked) = mpsc::channel(4);
        let walker = Walker { root: Arc::clone(root), filter: Arc::clone(filter), events: sender };
        let walking = spawn_blocking(move || walker.walk(&[PathBuf::new()], None, |_| ()));
        while let Some(message) = walked.recv().await {
            let found: Vec<Item> = match message {
                WalkEvent::Files(mut files) => {
                    files.retain(|file| !is_named(file));
                    let files = self.old_enough(root, files).await;
                    let item = |file: Settled| {
                        let shown = typed.join(&file.relative);
                        Item::File(file, shown)
                    };
                    files.into_iter().map(item).collect()
                }
                WalkEvent::Unreadable(path, why) => {
                    let typed = typed.join(path);
                    let why = format!("{} can't be read: {why}", typed.display());
                    vec![Item::Missing(Missing { typed, why })]
                }
                WalkEvent::Ended => break,
            };
            for item in found {
                if self.items.send(item).await.is_err() {
                    return Ok(());
                }
            }
        }
        walking.await.map_err(Fatal::internal)
    }

    /// Sends the files that a list names.
    async fn list(&mut self, list: List, mut finder: Finder) -> Result<(), Fatal> {
        let mut names = list.names();
        while let Some(name) = names.recv().await {
            let typed = name.map_err(|error| Fatal::new(Exit::SomeFailed, error))?;
            finder.make_room().await;
            match of_list(finder.find(&typed).await, &typed)? {
                Ok((file, typed)) => {
                    self.named.found += 1;
                    self.file(file, typed).await;
                }
                Err(missing) => self.missing(missing).await,
            }
            if self.items.is_closed() {
                break;
            }
        }
        Ok(())
    }

    /// Those of the files below a root that are old enough, with their sizes; also those that can't be looked at, as their upload says
    /// why.
    async fn old_enough(&self, root: &Arc<Root>, files: Vec<PathBuf>) -> Vec<Settled> {
        let (root, rules) = (Arc::clone(root), self.rules.clone());
        let judging = spawn_blocking(move || {
            let now = SystemTime::now();
            let judge = |file: PathBuf| {
                let stamp = root.parent_of(&file).ok().and_then(|(folder, name)| look_at(&folder, name).ok());
                let size = stamp.as_ref().map(|stamp| stamp.size);
                let is_old = stamp.is_none_or(|stamp| rules.too_young_for(&stamp, now).is_zero());
                is_old.then(|| Settled { size, ..Settled::new(Arc::clone(&root), file) })
            };
            files.into_iter().filter_map(judge).collect()
        });
        judging.await.unwrap_or_default()
    }
}

/// What a name of a list stands for. A folder is refused: to walk through it would be a surprise in a list that names the files in it as well,
/// and to leave it silently would be one for those who meant all that is in it.
pub(in crate::commands) fn of_list(
    found: Result<Argument, Fatal>,
    typed: &Path,
) -> Result<Result<(Settled, PathBuf), Missing>, Fatal> {
    let refused = |why: String| Ok(Err(Missing { typed: typed.to_owned(), why }));
    match found {
        Ok(Argument::File(file, typed)) => Ok(Ok((file, typed))),
        Ok(Argument::Folder(_)) => refused(format!(
            "{} is a folder: a list names files, and folders are named on the command line",
            typed.display()
        )),
        Ok(Argument::StandardInput { .. }) => refused(format!("{} can't be named in a list", typed.display())),
        Err(fatal) if matches!(fatal.exit, Exit::Missing | Exit::Usage) => refused(fatal.message),
        Err(fatal) => Err(fatal),
    }
}
