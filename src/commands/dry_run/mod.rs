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
use super::push::arguments::{Argument, Roots, is_named_itself};
use super::push::is_standard_input;
use super::session::{Memory, Session};
use super::take_folder::cannot_move;
use super::totals::Counts;
use crate::astran::Client;
use crate::cli::{Global, Push};
use crate::config::{After, Config, Policy};
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::file::lease::LeaseBreaks;
use crate::inventory::{self, FileHere, Look};
use crate::journal::{Journal, JournalError};
use crate::shutdown::Stop;
use crate::upload::MoveTargets;
use crate::vault::RemotePath;

use plan::Sum;
use planner::{Planner, Source, Step};

/// Files that the look may be ahead of the plan.
const AHEAD: usize = 256;

/// What is looked at.
enum Part {
    /// All files of a folder. `forced` where a person asked for just these files.
    Folder { place: Place, forced: bool },
    /// One file, below the root.
    File { place: Place, relative: PathBuf },
    /// Standard input, which gets this path in the vault.
    StandardInput(RemotePath),
}

/// A folder, and what happens to its files.
struct Place {
    root: Arc<Root>,
    policy: Policy,
    dest: RemotePath,
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
        parts.push(Part::Folder { place, forced: false });
    }
    let destinations = context.config.folders.iter().filter_map(|folder| folder.policy.dest.clone()).collect();
    run(context, destinations, parts, HashSet::new(), out).await
}

/// Tells what `push` would do.
pub(super) async fn push(context: Context, typed: &Push, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let config = &context.config;
    let dest = config.upload.dest.clone();
    let dest = dest.ok_or_else(|| Fatal::new(Exit::Usage, "no destination: give --dest PATH"))?;
    check_targets(&config.upload).await?;
    // Locks of no state directory: nothing is locked.
    let (roots, shared) = (Roots::new(Arc::default(), config.upload.removes()), Arc::new(config.clone()));
    let (mut parts, mut named) = (Vec::with_capacity(typed.files.len()), HashSet::new());
    for file in &typed.files {
        let Some((place, part)) = part(&shared, &roots, typed, file, &dest).await? else { continue };
        // The patterns of a shell may overlap.
        if place.is_none_or(|place| named.insert(place)) {
            parts.push(part);
        }
    }
    run(context, vec![dest], parts, named, out).await
}

/// What an argument of `push` stands for, and its path.
async fn part(
    config: &Arc<Config>,
    roots: &Roots,
    typed: &Push,
    file: &Path,
    dest: &RemotePath,
) -> Result<Option<(Option<PathBuf>, Part)>, Fatal> {
    if is_standard_input(file) {
        return Ok(typed.name.as_deref().map(|name| (None, Part::StandardInput(dest.join(name)))));
    }
    let place = |root| Place { root, policy: config.upload.clone(), dest: dest.clone() };
    let (roots, with, path) = (roots.clone(), Arc::clone(config), file.to_owned());
    let argument = on_disk(file, move || Argument::find(&path, &with, &roots)).await?;
    let named = argument.place();
    let part = match argument {
        Argument::File(file) => Part::File { place: place(file.root), relative: file.relative },
        Argument::Folder(root, ..) => Part::Folder { place: place(root), forced: true },
        Argument::StandardInput { .. } => return Ok(None),
    };
    Ok(Some((named, part)))
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

/// Looks, asks, and prints the plan. A folder that is named leaves out what is named itself.
async fn run(
    context: Context,
    destinations: Vec<RemotePath>,
    parts: Vec<Part>,
    named: HashSet<PathBuf>,
    out: &mut Output<'_>,
) -> Result<Exit, Fatal> {
    let Context { config, global, mut shutdown, .. } = context;
    let breaks = LeaseBreaks::install()
        .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the signal for leases can't be taken: {error}")))?;
    let journal = journal(&config, &global).await?;
    let mut printing = Printing { out, sum: Sum::default(), journal, breaks, named };
    if global.sandbox() {
        return tokio::select! {
            ended = printing.all(None, parts) => ended,
            () = shutdown.reached(Stop::Gently) => Ok(Exit::Interrupted),
        };
    }
    let session = Session::open(config, &global, Memory::ReadOnly).await?;
    let planning = async {
        session.log_in(false).await?;
        for destination in &destinations {
            session.has_destination(destination, false).await?;
        }
        printing.all(Some(&session.client), parts).await
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
}

impl Printing<'_, '_> {
    async fn all(&mut self, vault: Option<&Client>, parts: Vec<Part>) -> Result<Exit, Fatal> {
        let mut planner = Planner::new(vault, self.journal.clone());
        for part in parts {
            let has_reader = match part {
                Part::StandardInput(to) => self.step(&planner::standard_input(to))?,
                Part::Folder { place, forced } => {
                    let look = self.look(&place, forced)?;
                    let look = move |pass_on: PassOn<'_>| inventory::visit(&look, pass_on);
                    self.files(&mut planner, (&place, true), look).await?
                }
                Part::File { place, relative } => {
                    let look = self.look(&place, true)?;
                    let look = move |pass_on: PassOn<'_>| inventory::of_files(&look, &[relative], pass_on);
                    self.files(&mut planner, (&place, false), look).await?
                }
            };
            if !has_reader {
                return Ok(Exit::Done);
            }
        }
        let Sum { upload, bytes, finish, leave } = self.sum;
        self.out.count(Counts::Plan { dry_run: true, upload, bytes, finish, leave });
        self.out.text(&plan::sum_line(&self.sum))?;
        Ok(Exit::Done)
    }

    fn look(&self, place: &Place, forced: bool) -> Result<Look, Fatal> {
        let Place { root, policy, dest } = place;
        let (journal, breaks) = (self.journal.clone(), self.breaks.clone());
        let look = Look::new(Arc::clone(root), policy.clone(), dest.clone(), journal, breaks)?;
        Ok(if forced { look.forced() } else { look })
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
