//! Some files of a torrent only (BEP 53): the choice comes from a magnet link or the command line, is
//! kept beside the records, and can grow.

use super::Reactor;
use crate::reactor::contents::Content;
use crate::units::id::SwarmId;
use crate::wire::choice::Choice;
use crate::wire::metainfo::Metainfo;

impl Reactor {
    /// Every torrent added from now on is to have these files, `None` for all, whatever was chosen
    /// before.
    pub fn choose_for_all(&mut self, choice: Option<Choice>) {
        self.choose_all = Some(choice);
    }

    /// Why a choice was refused, if one was: it names no file of its torrent.
    #[must_use]
    pub fn refused_choice(&self) -> Option<&str> {
        self.refused_choice.as_deref()
    }

    /// Chooses files of a torrent that is about to come.
    ///
    /// # Errors
    /// A sentence, when that names none.
    pub fn choose(&mut self, metainfo: &Metainfo, choice: Choice) -> Result<(), String> {
        choice.check(metainfo)?;
        self.chosen.set(metainfo.info_hash, Some(choice));
        Ok(())
    }

    /// BEP 53: of a torrent that is here these files are wanted as well; `None`: all. Its swarm
    /// begins anew. False where they were wanted before.
    ///
    /// # Errors
    /// A sentence, when that names none.
    pub fn choose_more(&mut self, id: SwarmId, more: Option<&Choice>) -> Result<bool, String> {
        let content = self.contents.get(&id).ok_or("it is gone")?;
        more.map_or(Ok(()), |more| more.check(&content.metainfo))?;
        let Some(before) = &content.choice else { return Ok(false) };
        let choice = more.map(|more| before.and(more));
        if choice.as_ref() == Some(before) {
            return Ok(false);
        }
        let info_hash = content.metainfo.info_hash;
        let places = &self.options.places;
        let known = self.peer.progress(id).and_then(|progress| content.known(progress, places));
        self.chosen.set(info_hash, choice);
        self.save(self.clock.now(), id);
        let Content { source, metainfo, .. } = self.take_out(id).ok_or("it is gone")?;
        match self.take_in(&source, metainfo, known) {
            Ok(_) => Ok(true),
            Err(why) => {
                self.refuse(self.clock.now(), source, why.clone());
                Err(why.into())
            }
        }
    }

    /// Whether the choice for this torrent names a file of it.
    pub(super) fn check_choice(&mut self, metainfo: &Metainfo) -> Result<(), String> {
        if let Some(choice) = &self.choose_all {
            self.chosen.set(metainfo.info_hash, choice.clone());
        }
        let checked = self.chosen.of(&metainfo.info_hash).map_or(Ok(()), |c| c.check(metainfo));
        checked.inspect_err(|why| self.refused_choice = Some(why.clone()))
    }

    /// The files of this torrent that are wanted; `None`: all.
    pub(super) fn choice_for(&self, metainfo: &Metainfo) -> Option<Choice> {
        let choice = self.chosen.of(&metainfo.info_hash)?;
        let (name, count) = (&metainfo.name, metainfo.files.len());
        if let Some(beyond) = choice.beyond(metainfo) {
            log::warn!("{name}: there is no file {beyond}: it has {count}, counted from 0");
        }
        if choice.names_all(metainfo) {
            return None;
        }
        log::info!("{name}: of its {count} files these are chosen: {choice}");
        Some(choice.clone())
    }
}
