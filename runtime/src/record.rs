//! The record of one container: a file that is right after a kill at any moment.
//!
//! ```text
//! offset 0       the page that init shares (how far it came, what failed); see child::page
//! offset 4096    slot A:  magic  generation  length  checksum  payload (JSON)
//! offset 4096+S  slot B:  the same
//! ```
//!
//! A transition writes the slot that is not current with the next generation, in one pwrite(2). Whatever interrupts it,
//! the other slot is whole. There is no fsync: a killed process does not lose the page cache, and after a loss of power
//! the boot id says that nothing runs.

use std::os::fd::OwnedFd;

use child::page::Page;
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, fstat, openat, renameat};
use rustix::io::{pread, pwrite};
use serde::{Deserialize, Serialize};
use sys::error::Context;

use crate::{Error, Kind, Result};

const PAGE: u64 = 4096;
const MAGIC: [u8; 8] = *b"orlop\0\x01\0";
const HEADER: usize = 32;
/// What a later transition may add to the first payload, in bytes.
const HEADROOM: usize = 1024;
/// A record longer than this is not one of ours.
const LONGEST: u64 = 1 << 30;

/// The name of the file in the container's state directory.
const NAME: &str = "record";
/// Its name until its first state is written.
const UNNAMED: &str = "record.new";

/// An open record file.
#[derive(Debug)]
pub struct File {
    file: OwnedFd,
    slot: u64,
    generation: u64,
}

impl File {
    /// Makes the record of a new container and writes its first state.
    ///
    /// # Errors
    /// `Kernel`, among others for a full disk; the space for all later transitions is reserved here.
    pub fn create<T: Serialize>(directory: &OwnedFd, value: &T) -> Result<Self> {
        // It gets its name when it is whole: a file without a slot would be a damaged record, not an abandoned claim. What
        // such a claim left is overwritten.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(directory, UNNAMED, flags, Mode::RUSR | Mode::WUSR)
            .context("openat", || what("create"))?;
        let payload = encode(value)?;
        let slot = ((HEADER + payload.len() + HEADROOM) as u64).next_multiple_of(PAGE);
        fallocate(&file, FallocateFlags::empty(), 0, PAGE + 2 * slot)
            .context("fallocate", || what("reserve"))?;
        let mut record = Self { file, slot, generation: 0 };
        record.write_payload(&payload)?;
        renameat(directory, UNNAMED, directory, NAME).context("renameat", || what("name"))?;
        Ok(record)
    }

    /// Opens the record in a state directory and reads its newest whole slot.
    ///
    /// # Errors
    /// `NotFound` where there is none, `Internal` where no slot is whole.
    pub fn open<T: for<'de> Deserialize<'de>>(directory: &OwnedFd) -> Result<(Self, T)> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(directory, NAME, flags, Mode::empty()).context("openat", || what("open"))?;
        let size = fstat(&file).context("fstat", || what("open"))?.st_size;
        let size =
            u64::try_from(size).ok().filter(|size| (PAGE * 3..LONGEST).contains(size)).ok_or_else(damaged)?;
        let mut record = Self { file, slot: (size - PAGE) / 2, generation: 0 };
        let newest = [0, 1].into_iter().filter_map(|index| record.read_slot(index)).max_by_key(|slot| slot.0);
        let (generation, payload) = newest.ok_or_else(damaged)?;
        record.generation = generation;
        let value =
            serde_json::from_slice(&payload).map_err(|error| damaged().with_hint(error.to_string()))?;
        Ok((record, value))
    }

    /// Writes the next state.
    ///
    /// # Errors
    /// `Kernel`; the former state stands then.
    pub fn write<T: Serialize>(&mut self, value: &T) -> Result<()> {
        self.write_payload(&encode(value)?)
    }

    fn write_payload(&mut self, payload: &[u8]) -> Result<()> {
        let generation = self.generation + 1;
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&checksum(generation, payload).to_le_bytes());
        bytes.extend_from_slice(payload);
        if bytes.len() as u64 > self.slot {
            return Err(Error::new(Kind::Internal, "the record outgrew its slot"));
        }
        let written =
            pwrite(&self.file, &bytes, self.offset(generation % 2)).context("pwrite", || what("write"))?;
        if written != bytes.len() {
            return Err(Error::new(Kind::Kernel, "the record was written in part; is the disk full?"));
        }
        self.generation = generation;
        Ok(())
    }

    fn offset(&self, index: u64) -> u64 {
        PAGE + index * self.slot
    }

    fn read_slot(&self, index: u64) -> Option<(u64, Vec<u8>)> {
        let mut header = [0; HEADER];
        (pread(&self.file, &mut header, self.offset(index)).ok()? == HEADER).then_some(())?;
        let mut words = header.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok());
        (words.next()? == MAGIC).then_some(())?;
        let [generation, len, sum] = [words.next()?, words.next()?, words.next()?].map(u64::from_le_bytes);
        (len <= self.slot - HEADER as u64).then_some(())?;
        let mut payload = vec![0; usize::try_from(len).ok()?];
        let read = pread(&self.file, payload.as_mut_slice(), self.offset(index) + HEADER as u64).ok()?;
        (read == payload.len() && checksum(generation, &payload) == sum).then_some((generation, payload))
    }

    /// The page that init shares.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn page(&self) -> Result<Page> {
        Page::map(&self.file).context("mmap", || what("map"))
    }

    /// The file, for init to inherit.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.file
    }
}

fn what(verb: &str) -> String {
    format!("{verb} the container's record")
}

fn damaged() -> Error {
    Error::new(Kind::Internal, "the container's record is damaged")
        .with_hint("delete --force ends and removes the container")
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::new(Kind::Internal, format!("encode the record: {error}")))
}

/// FNV-1a over the generation and the payload: it finds torn and foreign slots; nobody hostile can write here.
pub(crate) fn checksum(generation: u64, payload: &[u8]) -> u64 {
    generation
        .to_le_bytes()
        .iter()
        .chain(payload)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn directory() -> (std::path::PathBuf, OwnedFd) {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("it-record-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let fd = std::fs::File::open(&path).unwrap().into();
        (path, fd)
    }

    #[test]
    fn the_newest_state_is_read_back() {
        let (path, fd) = directory();
        let mut file = File::create(&fd, &"one").unwrap();
        file.write(&"two").unwrap();
        file.write(&"three").unwrap();
        assert_eq!(File::open::<String>(&fd).unwrap().1, "three");
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_torn_slot_gives_the_former_state() {
        let (path, fd) = directory();
        let mut file = File::create(&fd, &"one").unwrap();
        file.write(&"two").unwrap();
        let raw = std::fs::OpenOptions::new().write(true).open(path.join(NAME)).unwrap();
        raw.write_all_at(b"x", file.offset(0) + HEADER as u64 + 1).unwrap();
        assert_eq!(File::open::<String>(&fd).unwrap().1, "one");
        raw.write_all_at(b"x", file.offset(1) + HEADER as u64 + 1).unwrap();
        assert_eq!(File::open::<String>(&fd).unwrap_err().kind(), Kind::Internal);
        std::fs::remove_dir_all(path).unwrap();
    }
}
