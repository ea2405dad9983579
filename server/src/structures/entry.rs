//! One key and its value in one block.
//!
//! ```text
//! offset  bytes  what
//! 0       1      meta: kind and encoding, the keyspace's business
//! 1       1      flags: EXPIRES, LONG_KEY, INT, OBJECT
//! 2       1      key length (if LONG_KEY: unused)
//! 3       3      access bits (LRU or LFU)
//! 6       2      inline value length
//! 8       [8]    if EXPIRES: Unix ms
//!         [8]    if LONG_KEY: key length
//!         n      key
//!         v      the value's bytes; if INT: an i64; if OBJECT: a pointer to a boxed Object
//! ```
//! A 16-byte key with a 32-byte value takes 56 bytes. The block's size follows from the header, so nothing else records it.
//! Knows nothing of tables.

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::heap::{Heap, allocation_size, block_size};
use crate::limits::INLINE_VALUE;

const EXPIRES: u8 = 1;
const LONG_KEY: u8 = 2;
const INT: u8 = 4;
const OBJECT: u8 = 8;
const HEADER: usize = 8;
const WORD: usize = 8;

const _: () = assert!(INLINE_VALUE <= u16::MAX as usize);

/// A value with allocations of its own.
#[derive(Debug)]
pub enum Object {
    Str(Vec<u8>),
}

impl Object {
    /// Bytes allocated, as the allocator rounds them.
    pub fn memory(&self) -> usize {
        let contents = match self {
            Object::Str(bytes) => allocation_size(bytes.capacity()),
        };
        allocation_size(size_of::<Object>()) + contents
    }
}

/// A value as it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Object(&'a Object),
}

/// A value to be stored.
#[derive(Debug)]
pub enum Content<'a> {
    Int(i64),
    /// At most `INLINE_VALUE` bytes.
    Bytes(&'a [u8]),
    Object(Box<Object>),
}

impl Content<'_> {
    fn len(&self) -> usize {
        match self {
            Content::Bytes(bytes) => bytes.len(),
            Content::Int(_) | Content::Object(_) => WORD,
        }
    }
}

/// All of an entry that is to be written.
#[derive(Debug)]
pub struct Draft<'a> {
    pub key: &'a [u8],
    pub meta: u8,
    /// 24 bits.
    pub access: u32,
    /// Unix ms.
    pub expire: Option<i64>,
    pub content: Content<'a>,
}

impl Draft<'_> {
    fn header(&self) -> Header {
        let long = self.key.len() > u8::MAX as usize;
        let (kind, inline) = match &self.content {
            Content::Int(_) => (INT, 0),
            Content::Object(_) => (OBJECT, 0),
            Content::Bytes(bytes) => {
                assert!(bytes.len() <= INLINE_VALUE, "a long value is an object");
                (0, bytes.len())
            }
        };
        let flags = kind | (u8::from(self.expire.is_some()) * EXPIRES) | (u8::from(long) * LONG_KEY);
        let key_len = if long { 0 } else { self.key.len() };
        Header(
            u64::from(self.meta)
                | u64::from(flags) << 8
                | (key_len as u64) << 16
                | u64::from(self.access & 0xff_ffff) << 24
                | (inline as u64) << 48,
        )
    }

    fn size(&self) -> usize {
        let prefix = self.header().prefix();
        prefix + self.key.len() + self.content.len()
    }
}

/// The first eight bytes, little-endian.
#[derive(Clone, Copy)]
struct Header(u64);

impl Header {
    #[inline]
    fn meta(self) -> u8 {
        self.0 as u8
    }

    #[inline]
    fn flags(self) -> u8 {
        (self.0 >> 8) as u8
    }

    #[inline]
    fn short_key(self) -> usize {
        (self.0 >> 16) as u8 as usize
    }

    #[inline]
    fn access(self) -> u32 {
        (self.0 >> 24) as u32 & 0xff_ffff
    }

    #[inline]
    fn inline(self) -> usize {
        (self.0 >> 48) as usize
    }

    /// Where the key begins.
    #[inline]
    fn prefix(self) -> usize {
        let flags = self.flags();
        HEADER + ((flags & EXPIRES) as usize) * 8 + ((flags & LONG_KEY) as usize) * 4
    }
}

/// An entry that stands in no table. It must go into a table or back to its heap: dropping it leaks.
#[derive(Debug)]
#[must_use]
pub struct OwnedEntry {
    block: NonNull<u8>,
}

// SAFETY: an entry is plain memory, and the object it may own is Send.
unsafe impl Send for OwnedEntry {}

impl OwnedEntry {
    /// Writes `draft` into a block of its own.
    pub fn new(draft: Draft<'_>, heap: &mut Heap) -> Self {
        let block = heap.alloc(draft.size());
        if let Content::Object(object) = &draft.content {
            heap.charge(object.memory());
        }
        // SAFETY: the block is fresh and as long as the draft needs.
        unsafe { write(block, draft) };
        OwnedEntry { block }
    }

    /// Writes `draft`, which has the same key, over this entry if it takes a block of the same size; else hands it back.
    #[inline]
    pub fn overwrite<'d>(&mut self, draft: Draft<'d>, heap: &mut Heap) -> Result<(), Draft<'d>> {
        debug_assert_eq!(self.view().key(), draft.key);
        if block_size(draft.size()) != block_size(self.view().size()) {
            return Err(draft);
        }
        self.drop_object(heap);
        if let Content::Object(object) = &draft.content {
            heap.charge(object.memory());
        }
        // SAFETY: the block is as long as the draft needs, its object is gone, and the draft, being another
        // borrow, does not point into it.
        unsafe { write(self.block, draft) };
        Ok(())
    }

    /// Gives the entry's memory back.
    #[inline]
    pub fn free(mut self, heap: &mut Heap) {
        let size = self.view().size();
        self.drop_object(heap);
        // SAFETY: entries are allocated with their size, and this was the only handle.
        unsafe { heap.free(self.block, size) };
    }

    fn drop_object(&mut self, heap: &mut Heap) {
        let view = self.view();
        if view.header().flags() & OBJECT != 0 {
            // SAFETY: an OBJECT entry owns the box it points to; whoever calls this frees or overwrites the entry.
            let object = unsafe { Box::from_raw(view.object()) };
            heap.discharge(object.memory());
        }
    }

    /// Frees the entry and hands out the object that it owned, if it owned one.
    pub fn into_object(mut self, heap: &mut Heap) -> Option<Box<Object>> {
        let view = self.view();
        let pointer = (view.header().flags() & OBJECT != 0).then(|| view.object());
        self.forget_object(heap);
        self.free(heap);
        // SAFETY: the entry owned the box and let go of it.
        pointer.map(|pointer| unsafe { Box::from_raw(pointer) })
    }

    #[inline]
    pub fn view(&self) -> EntryRef<'_> {
        EntryRef { block: self.block, owner: PhantomData }
    }

    /// Changes the object in place; None if the value is not one.
    pub fn edit<R>(&mut self, heap: &mut Heap, change: impl FnOnce(&mut Object) -> R) -> Option<R> {
        let view = self.view();
        if view.header().flags() & OBJECT == 0 {
            return None;
        }
        // SAFETY: an OBJECT entry owns the box, and `self` is borrowed for writing.
        let object = unsafe { &mut *view.object() };
        heap.discharge(object.memory());
        let result = change(object);
        heap.charge(object.memory());
        Some(result)
    }

    pub fn set_meta(&mut self, meta: u8) {
        // SAFETY: the block's first byte.
        unsafe { self.block.write(meta) };
    }

    /// Sets the 24 access bits; leaves the line clean if they are those already.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        let header = self.view().header();
        if header.access() != access {
            let header = header.0 & !(0xff_ffff << 24) | u64::from(access & 0xff_ffff) << 24;
            // SAFETY: the header is the block's first 8 bytes.
            unsafe { self.block.cast::<u64>().write(header.to_le()) };
        }
    }

    /// The address, for a table that packs it; `from_raw` undoes it.
    #[inline]
    pub(super) fn into_raw(self) -> NonNull<u8> {
        self.block
    }

    /// # Safety
    /// `block` came from `into_raw` and no other handle made of it is used for writing meanwhile.
    #[inline]
    pub(super) unsafe fn from_raw(block: NonNull<u8>) -> Self {
        OwnedEntry { block }
    }

    /// Gives the entry an expiry, another one, or none; its block may change.
    pub fn set_expire(&mut self, expire: Option<i64>, heap: &mut Heap) {
        match (self.view().expire(), expire) {
            (None, None) => return,
            (Some(_), Some(at)) => {
                // SAFETY: EXPIRES entries hold the time behind the header.
                unsafe { self.block.add(HEADER).cast::<i64>().write(at) };
                return;
            }
            _ => {}
        }
        // SAFETY: the block lives to the end of this function, and only `forget_object` writes to it.
        let view = unsafe { EntryRef::from_raw(self.block) };
        let content = match view.payload() {
            Payload::Int(int) => Content::Int(int),
            Payload::Bytes(bytes) => Content::Bytes(bytes),
            Payload::Object(_) => {
                let pointer = view.object();
                self.forget_object(heap);
                // SAFETY: the entry owned the box and let go of it.
                Content::Object(unsafe { Box::from_raw(pointer) })
            }
        };
        let draft = Draft { key: view.key(), meta: view.meta(), access: view.access(), expire, content };
        let moved = OwnedEntry::new(draft, heap);
        std::mem::replace(self, moved).free(heap);
    }

    /// After the box was taken out of an OBJECT entry: the pointer becomes an integer, as long as it was, so that the
    /// block's size stays known.
    fn forget_object(&mut self, heap: &mut Heap) {
        let view = self.view();
        let Payload::Object(object) = view.payload() else { return };
        heap.discharge(object.memory());
        let flags = view.header().flags() & !OBJECT | INT;
        // SAFETY: the flags are the block's second byte.
        unsafe { self.block.add(1).write(flags) };
    }

    /// The entry's longest stretch of bytes that freeing it does not read: its value's or, for long keys, its key's.
    pub(super) fn longest_stretch(&mut self) -> (*mut u8, usize) {
        let (at, length) = self.view().key_span(self.view().header());
        let value = match self.view().payload() {
            Payload::Object(Object::Str(bytes)) => bytes.capacity(),
            Payload::Int(_) | Payload::Bytes(_) => 0,
        };
        if value >= length {
            if value == 0 {
                return (self.block.as_ptr(), 0);
            }
            // SAFETY: a payload that is an object was just seen, and `self` is borrowed for writing.
            let Object::Str(bytes) = unsafe { &mut *self.view().object() };
            (bytes.as_mut_ptr(), value)
        } else {
            // SAFETY: the key lies within the block.
            (unsafe { self.block.add(at) }.as_ptr(), length)
        }
    }
}

/// Writes a whole entry.
///
/// # Safety
/// `block` has room for `draft.size()` bytes, owns no object, and the draft does not point into it.
#[inline]
unsafe fn write(block: NonNull<u8>, draft: Draft<'_>) {
    let header = draft.header();
    // SAFETY: all offsets lie within `draft.size()`; fields behind the key may be unaligned.
    unsafe {
        block.cast::<u64>().write(header.0.to_le());
        if let Some(at) = draft.expire {
            block.add(HEADER).cast::<i64>().write(at);
        }
        let key = block.add(header.prefix());
        if header.flags() & LONG_KEY != 0 {
            key.sub(8).cast::<u64>().write(draft.key.len() as u64);
        }
        key.copy_from_nonoverlapping(NonNull::from(draft.key).cast(), draft.key.len());
        let value = key.add(draft.key.len());
        match draft.content {
            Content::Int(int) => value.cast::<i64>().write_unaligned(int),
            Content::Bytes(bytes) => {
                value.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            }
            Content::Object(object) => {
                value.cast::<*mut Object>().write_unaligned(Box::into_raw(object));
            }
        }
    }
}

/// A read view of an entry.
#[derive(Clone, Copy)]
pub struct EntryRef<'a> {
    block: NonNull<u8>,
    owner: PhantomData<&'a OwnedEntry>,
}

impl<'a> EntryRef<'a> {
    /// # Safety
    /// `block` holds an entry that nothing changes or frees during `'a`.
    #[inline]
    pub(super) unsafe fn from_raw(block: NonNull<u8>) -> Self {
        EntryRef { block, owner: PhantomData }
    }

    /// A handle for changing the header in place.
    ///
    /// # Safety
    /// The caller may write to the entry, and neither frees the handle nor changes the entry's size through it.
    #[inline]
    pub(super) unsafe fn as_owned(&self) -> OwnedEntry {
        OwnedEntry { block: self.block }
    }

    #[inline]
    fn header(&self) -> Header {
        // SAFETY: an entry begins with its header, and blocks are aligned to 8.
        Header(u64::from_le(unsafe { self.block.cast::<u64>().read() }))
    }

    /// Offset and length of the key.
    #[inline]
    fn key_span(&self, header: Header) -> (usize, usize) {
        let prefix = header.prefix();
        if header.flags() & LONG_KEY == 0 {
            return (prefix, header.short_key());
        }
        // SAFETY: LONG_KEY entries hold the length before the key.
        (prefix, unsafe { self.block.add(prefix - 8).cast::<u64>().read() as usize })
    }

    #[inline]
    pub fn key(&self) -> &'a [u8] {
        let (at, length) = self.key_span(self.header());
        // SAFETY: the key's span lies within the entry, which lives for 'a unchanged.
        unsafe { std::slice::from_raw_parts(self.block.add(at).as_ptr(), length) }
    }

    #[inline]
    pub fn has_key(&self, key: &[u8]) -> bool {
        let (at, length) = self.key_span(self.header());
        // SAFETY: the key's span lies within the entry.
        length == key.len()
            && same(key, unsafe { std::slice::from_raw_parts(self.block.add(at).as_ptr(), length) })
    }

    #[inline]
    pub fn payload(&self) -> Payload<'a> {
        let header = self.header();
        let (at, length) = self.key_span(header);
        // SAFETY: the value stands behind the key, in the form the flags tell.
        unsafe {
            let value = self.block.add(at + length);
            if header.flags() & (INT | OBJECT) == 0 {
                Payload::Bytes(std::slice::from_raw_parts(value.as_ptr(), header.inline()))
            } else if header.flags() & INT != 0 {
                Payload::Int(value.cast::<i64>().read_unaligned())
            } else {
                Payload::Object(&*value.cast::<*const Object>().read_unaligned())
            }
        }
    }

    /// The object of an OBJECT entry.
    fn object(&self) -> *mut Object {
        let header = self.header();
        debug_assert!(header.flags() & OBJECT != 0);
        let (at, length) = self.key_span(header);
        // SAFETY: every value but an inline one takes at least a word behind the key, and an inline one is never asked.
        unsafe { self.block.add(at + length).cast::<*mut Object>().read_unaligned() }
    }

    #[inline]
    pub fn meta(&self) -> u8 {
        self.header().meta()
    }

    #[inline]
    pub fn access(&self) -> u32 {
        self.header().access()
    }

    /// Unix ms.
    #[inline]
    pub fn expire(&self) -> Option<i64> {
        if self.header().flags() & EXPIRES == 0 {
            return None;
        }
        // SAFETY: EXPIRES entries hold the time behind the header.
        Some(unsafe { self.block.add(HEADER).cast::<i64>().read() })
    }

    /// Bytes the entry needs of its block.
    #[inline]
    fn size(&self) -> usize {
        let header = self.header();
        let (at, length) = self.key_span(header);
        at + length + if header.flags() & (INT | OBJECT) == 0 { header.inline() } else { WORD }
    }

    /// Whether the value and a key of up to 255 bytes are all there is: a few kilobytes at most.
    #[inline]
    pub fn is_small(&self) -> bool {
        self.header().flags() & (OBJECT | LONG_KEY) == 0
    }

    /// Bytes allocated for the entry and its value.
    pub fn memory(&self) -> usize {
        let object = match self.payload() {
            Payload::Object(object) => object.memory(),
            Payload::Int(_) | Payload::Bytes(_) => 0,
        };
        block_size(self.size()) + object
    }
}

/// Equality of slices of the same length; short ones, which most keys are, without a call.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    let length = a.len();
    if !(8..=32).contains(&length) {
        return a == b;
    }
    let word = |bytes: &[u8], at: usize| {
        // SAFETY: `at + 8 <= length` holds for each call below, and both slices are `length` long.
        unsafe { bytes.as_ptr().add(at).cast::<u64>().read_unaligned() }
    };
    // The last two words may overlap those before them.
    let mut differ = word(a, 0) ^ word(b, 0) | word(a, length - 8) ^ word(b, length - 8);
    if length > 16 {
        differ |= word(a, 8) ^ word(b, 8) | word(a, length - 16) ^ word(b, length - 16);
    }
    differ == 0
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
