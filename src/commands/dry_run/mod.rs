//! `--dry-run` of `watch` and `push`: for each file that is there, what a run would do with it, and why not.
//!
//! Looks at the folders and the journal, logs in and asks the vault; sends, writes and removes nothing: no state directory is made, no
//! lock taken, no private folder, no row, no anchor. With `--sandbox` the vault is not asked either, for to start the sandbox makes its
//! vault.

mod plan;
mod planner;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::awaited;
use super::context::Context;
use super::journals;
use super::open_folders::on_disk;
use super::output::Output;
use super::push::arguments::{Argument, Missing, Roots, is_named_itself};
use super::push::expand::{Named, of_list};
use super::push::list::List;
use super::push::{is_standard_input, open_list};
use super::session::{Memory, Session};
use super::take_folder::cannot_move;
use super::totals::Counts;
use crate::astran::Client;
use crate::budget;
use crate::cli::{Global, Push};
use crate::config::{After, Config, Policy};
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::file::lease::LeaseBreaks;
use crate::inventory::{self, FileHere, Look};
use crate::journal::{Journal, JournalError};
use crate::shutdown::Stop;
use crate::upload::{Asked, MoveTargets};
use crate::vault::RemotePath;

use plan::Sum;
use planner::{Planner, Source, Step};

/// Files that the look may be ahead of the plan.
const AHEAD: usize = 256;

/// What is looked at.
enum Part {
    /// All files of a folder.
    Folder { place: Place, asked: Asked },
    /// One file, below the root, that a person has named.
    File { place: Place, asked: Asked, relative: PathBuf },
    /// Something that was named, and is not there.
    Missing(Missing),
    /// Standard input, which gets this path in the vault.
    StandardInput(RemotePath),
}

/// A folder, and what happens to its files.
struct Place {
    root: Arc<Root>,
    policy: Policy,
    dest: RemotePath,
}

/// What is to be planned.
#[derive(Default)]
struct Given {
    parts: Vec<Part>,
    /// The paths that the command line names: a folder leaves out what is named itself.
    named: HashSet<PathBuf>,
    /// A list of further names.
    list: Option<(List, Namer)>,
}

/// Tells what `watch` would do.
pub(super) async fn watch(context: Context, once: bool, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let Some((open, missing)) = awaited::open_all(&context, false).await? else { return Ok(Exit::Interrupted) };
    // With --sandbox a run makes the folders that are missing.
    if let Some(first) = missing.first().filter(|_| !context.global.sandbox() && (once || open.is_empty())) {
        return Err(first.why.clone());
    }
    for missing in &missing {
        tracing::warn!("the folder {} is missing: it would be waited for", missing.folder.path.display());
    }
    let mut parts = Vec::with_capacity(open.len());
    for (folder, root) in open {
        let dest = folder.policy.dest.clone().ok_or_else(|| {
            Fatal::new(Exit::Usage, format!("no destination for {}: give --dest PATH", folder.path.display()))
        })?;
        check_targets(&folder.policy).await?;
        let place = Place { root: Arc::new(root), policy: folder.policy, dest };
        parts.push(Part::Folder { place, asked: Asked::ByWatch });
    }
    let destinations = context.config.folders.iter().filter_map(|folder| folder.policy.dest.clone()).collect();
    run(context, destinations, Given { parts, ..Given::default() }, out).await
}

/// Tells what `push` would do.
pub(super) async fn push(context: Context, typed: &Push, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let config = &context.config;
    let dest = config.upload.dest.clone();
    let dest = dest.ok_or_else(|| Fatal::new(Exit::Usage, "no destination: give --dest PATH"))?;
    check_targets(&config.upload).await?;
    // Locks of no state directory: nothing is locked.
    let roots = Roots::new(Arc::default(), config.upload.removes());
    let asked = if typed.again { Asked::Again } else { Asked::ByName };
    let namer = Namer { config: Arc::new(config.clone()), roots, asked, dest: dest.clone() };
    let (mut parts, mut named) = (Vec::with_capacity(typed.files.len()), HashSet::new());
    for file in &typed.files {
        let Some((place, part)) = namer.argument(typed, file).await? else { continue };
        // The patterns of a shell may overlap.
        if place.is_none_or(|place| named.insert(place)) {
            parts.push(part);
        }
    }
    let list = open_list(typed).await?.map(|list| (list, namer));
    run(context, vec![dest], Given { parts, named, list }, out).await
}

/// Finds out what the names stand for that `push` is given.
struct Namer {
    config: Arc<Config>,
    roots: Roots,
    asked: Asked,
    dest: RemotePath,
}

impl Namer {
    /// What an argument stands for, and its path.
    async fn argument(&self, typed: &Push, file: &Path) -> Result<Option<(Option<PathBuf>, Part)>, Fatal> {
        if is_standard_input(file) {
            return Ok(typed.name.as_deref().map(|name| (None, Part::StandardInput(self.dest.join(name)))));
        }
        let asked = self.asked;
        let argument = match self.find(file).await {
            Err(fatal) if fatal.exit == Exit::Missing => {
                return Ok(Some((None, Part::Missing(Missing { typed: file.to_owned(), why: fatal.message }))));
            }
            found => found?,
        };
        let named = argument.place();
        let part = match argument {
            Argument::File(file, _) => Part::File { place: self.place(file.root), asked, relative: file.relative },
            Argument::Folder(folder) => Part::Folder { place: self.place(folder.root), asked },
            Argument::StandardInput { .. } => return Ok(None),
        };
        Ok(Some((named, part)))
    }

    /// What a name of a list stands for.
    async fn listed(&self, typed: &Path) -> Result<Part, Fatal> {
        if self.roots.len() >= budget::PUSHED_FOLDERS {
            self.roots.take_unused();
        }
        Ok(match of_list(self.find(typed).await, typed)? {
            Ok((file, _)) => Part::File { place: self.place(file.root), asked: self.asked, relative: file.relative },
            Err(missing) => Part::Missing(missing),
        })
    }

    async fn find(&self, file: &Path) -> Result<Argument, Fatal> {
        let (roots, config, path) = (self.roots.clone(), Arc::clone(&self.config), file.to_owned());
        on_disk(file, move || Argument::find(&path, &config, &roots)).await
    }

    fn place(&self, root: Arc<Root>) -> Place {
        Place { root, policy: self.config.upload.clone(), dest: self.dest.clone() }
    }
}

/// Checks the folders that files are moved to, as a run does; one that is missing would be made.
async fn check_targets(policy: &Policy) -> Result<(), Fatal> {
    let moved = match &policy.after {
        After::Move(folder) => Some(folder.clone()),
        After::Delete | After::Keep => None,
    };
    let there = moved.iter().chain(&policy.failed_dir).all(|folder| folder.exists());
    let (Some(folder), true) = (moved.or_else(|| policy.failed_dir.clone()), there) else { return Ok(()) };
    let policy = policy.clone();
    on_disk(&folder, move || MoveTargets::open(&policy).map(drop).map_err(|error| cannot_move(&error))).await
}

/// Looks, asks, and prints the plan.
async fn run(
    context: Context,
    destinations: Vec<RemotePath>,
    Given { parts, named, list }: Given,
    out: &mut Output<'_>,
) -> Result<Exit, Fatal> {
    let Context { config, global, mut shutdown, .. } = context;
    let breaks = LeaseBreaks::install()
        .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the signal for leases can't be taken: {error}")))?;
    let journal = journal(&config, &global).await?;
    let mut printing = Printing { out, sum: Sum::default(), journal, breaks, named, found: Named::default() };
    if global.sandbox() {
        return tokio::select! {
            ended = printing.all(None, parts, list) => ended,
            () = shutdown.reached(Stop::Gently) => Ok(Exit::Interrupted),
        };
    }
    let session = Session::open(config, &global, Memory::ReadOnly).await?;
    let planning = async {
        session.log_in(false).await?;
        for destination in &destinations {
            session.has_destination(destination, false).await?;
        }
        printing.all(Some(&session.client), parts, list).await
    };
    let ended = tokio::select! {
        ended = planning => ended,
        () = shutdown.reached(Stop::Gently) => Ok(Exit::Interrupted),
    };
    session.close().await;
    ended
}

/// The journal as it is, without a trace; `None` where there is none yet.
async fn journal(config: &Config, global: &Global) -> Result<Option<Journal>, Fatal> {
    if !global.sandbox() {
        config.login()?;
    }
    let Some(service) = journals::service_of(config, global) else { return Ok(None) };
    let state_dir = config.state_dir.clone();
    let peeked = spawn_blocking(move || Journal::peek(&state_dir, &service)).await;
    Ok(peeked.map_err(|error| planner::panicked(&error))??)
}

/// Prints the plan, a line for each file, and the sum.
struct Printing<'a, 'o> {
    out: &'a mut Output<'o>,
    sum: Sum,
    journal: Option<Journal>,
    breaks: LeaseBreaks,
    /// What the command line names.
    named: HashSet<PathBuf>,
    /// How many of the names stood for something.
    found: Named,
}

impl Printing<'_, '_> {
    async fn all(
        &mut self,
        vault: Option<&Client>,
        parts: Vec<Part>,
        list: Option<(List, Namer)>,
    ) -> Result<Exit, Fatal> {
        let mut planner = Planner::new(vault, self.journal.clone());
        for part in parts {
            if !self.part(&mut planner, part).await? {
                return Ok(Exit::Done);
            }
        }
        if let Some((list, namer)) = list {
            let mut names = list.names();
            while let Some(name) = names.recv().await {
                let name = name.map_err(|error| Fatal::new(Exit::SomeFailed, error))?;
                let part = namer.listed(&name).await?;
                if !self.part(&mut planner, part).await? {
                    return Ok(Exit::Done);
                }
            }
        }
        let Sum { upload, bytes, finish, leave } = self.sum;
        self.out.count(Counts::Plan { dry_run: true, upload, bytes, finish, leave });
        self.out.text(&plan::sum_line(&self.sum))?;
        let found = std::mem::take(&mut self.found);
        let some_are_missing = found.missing() > 0;
        found.any()?;
        Ok(if some_are_missing { Exit::SomeFailed } else { Exit::Done })
    }

    /// Returns whether standard output still has a reader.
    async fn part(&mut self, planner: &mut Planner<'_, Client>, part: Part) -> Result<bool, Fatal> {
        if let Part::Missing(missing) = &part {
            self.found.add_missing(missing);
        } else {
            self.found.found += 1;
        }
        match part {
            Part::StandardInput(to) => self.step(&planner::standard_input(to)),
            Part::Missing(missing) => self.step(&planner::missing(missing)),
            Part::Folder { place, asked } => {
                let look = self.look(&place, asked)?;
                let look = move |pass_on: PassOn<'_>| inventory::visit(&look, pass_on);
                self.files(planner, (&place, true), look).await
            }
            Part::File { place, asked, relative } => {
                let look = self.look(&place, asked)?;
                let look = move |pass_on: PassOn<'_>| inventory::of_files(&look, &[relative], pass_on);
                self.files(planner, (&place, false), look).await
            }
        }
    }

    fn look(&self, place: &Place, asked: Asked) -> Result<Look, Fatal> {
        let Place { root, policy, dest } = place;
        let (journal, breaks) = (self.journal.clone(), self.breaks.clone());
        Ok(Look::new(Arc::clone(root), policy.clone(), dest.clone(), journal, breaks)?.asked(asked))
    }

    /// Plans and prints each file that the look finds, which runs on a thread that may block. Returns whether standard output still has a
    /// reader.
    async fn files(
        &mut self,
        planner: &mut Planner<'_, Client>,
        (Place { root, policy, dest }, skips_named): (&Place, bool),
        look: impl FnOnce(PassOn<'_>) -> Result<bool, JournalError> + Send + 'static,
    ) -> Result<bool, Fatal> {
        let (files, mut found) = mpsc::channel(AHEAD);
        let looking = spawn_blocking(move || look(&mut |file| hand_on(&files, file)));
        let source = Source { root, policy, dest };
        while let Some(file) = found.recv().await {
            let is_other_argument = || is_named_itself(root.path(), &file.relative, policy.layout, &self.named);
            if skips_named && is_other_argument() {
                continue;
            }
            let step = planner.step(&source, file).await?;
            if !self.step(&step)? {
                return Ok(false);
            }
        }
        if !looking.await.map_err(|error| planner::panicked(&error))?? {
            tracing::warn!("some files could not be looked at, for want of open files: the plan has gaps");
        }
        Ok(true)
    }

    fn step(&mut self, step: &Step) -> Result<bool, Fatal> {
        self.sum.add(step);
        self.out.print(&plan::event(step), || plan::text(step))?;
        Ok(self.out.has_reader())
    }
}

/// Takes each file that a look finds.
type PassOn<'a> = &'a mut dyn FnMut(FileHere) -> ControlFlow<()>;

fn hand_on(files: &mpsc::Sender<FileHere>, file: FileHere) -> ControlFlow<()> {
    match files.blocking_send(file) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}
