//! Bytes of sessions, without an allocation for each: slots of 16 to 512 bytes in steps of 8,
//! those of one size side by side in chunks.

/// Slots of a chunk.
const SLOTS: usize = 256;
/// The step between sizes, in bytes.
const STEP: usize = 8;
/// The number of sizes.
const SIZES: usize = crate::wire::MAX_RECORD / STEP;
/// A handle is the size's number above the slot's.
const SLOT_BITS: u32 = 26;

/// The arena.
#[derive(Debug)]
pub(super) struct Arena {
    sizes: Vec<Size>,
}

/// The slots of one size.
#[derive(Clone, Debug, Default)]
struct Size {
    chunks: Vec<Box<[u8]>>,
    /// Slots that were never used begin here.
    fresh: usize,
    free: Vec<u32>,
}

impl Default for Arena {
    fn default() -> Self {
        Self { sizes: vec![Size::default(); SIZES] }
    }
}

impl Arena {
    /// Keeps bytes; `None` if they are too long or there is no room.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<u32> {
        let number = number(bytes.len())?;
        let size = self.sizes.get_mut(number)?;
        let slot = size.take(slot_len(number))?;
        size.slot(slot, slot_len(number))?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some((number as u32) << SLOT_BITS | slot)
    }

    /// Keeps other bytes instead; the handle may change. If it fails, the old ones are kept.
    pub(super) fn replace(&mut self, handle: u32, bytes: &[u8]) -> Option<u32> {
        let (old, slot) = split(handle);
        if number(bytes.len())? != old {
            let fresh = self.put(bytes)?;
            self.free(handle);
            return Some(fresh);
        }
        let size = self.sizes.get_mut(old)?;
        size.slot(slot, slot_len(old))?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(handle)
    }

    /// The slot, which may be longer than what was put there.
    pub(super) fn get(&self, handle: u32) -> Option<&[u8]> {
        let (number, slot) = split(handle);
        let (chunk, first) = (slot as usize / SLOTS, slot as usize % SLOTS * slot_len(number));
        self.sizes.get(number)?.chunks.get(chunk)?.get(first..first + slot_len(number))
    }

    /// Gives a slot back.
    pub(super) fn free(&mut self, handle: u32) {
        let (number, slot) = split(handle);
        if let Some(size) = self.sizes.get_mut(number) {
            size.free.push(slot);
            // A size that nobody uses any more gives its memory back.
            if size.free.len() == size.fresh {
                *size = Size::default();
            }
        }
    }

    pub(super) fn memory(&self) -> usize {
        let sizes = self.sizes.iter().enumerate().map(|(number, size)| {
            size.chunks.len() * (SLOTS * slot_len(number) + size_of::<Box<[u8]>>())
                + size.free.capacity() * size_of::<u32>()
        });
        sizes.sum::<usize>() + self.sizes.capacity() * size_of::<Size>()
    }
}

impl Size {
    fn take(&mut self, len: usize) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        let slot = u32::try_from(self.fresh).ok().filter(|slot| slot >> SLOT_BITS == 0)?;
        if self.fresh / SLOTS == self.chunks.len() {
            self.chunks.push(vec![0; SLOTS * len].into());
        }
        self.fresh += 1;
        Some(slot)
    }

    fn slot(&mut self, slot: u32, len: usize) -> Option<&mut [u8]> {
        let (chunk, first) = (slot as usize / SLOTS, slot as usize % SLOTS * len);
        self.chunks.get_mut(chunk)?.get_mut(first..first + len)
    }
}

/// The number of the size for so many bytes.
fn number(len: usize) -> Option<usize> {
    let number = len.div_ceil(STEP).max(2) - 1;
    (number < SIZES).then_some(number)
}

fn slot_len(number: usize) -> usize {
    (number + 1) * STEP
}

fn split(handle: u32) -> (usize, u32) {
    ((handle >> SLOT_BITS) as usize, handle & ((1 << SLOT_BITS) - 1))
}
