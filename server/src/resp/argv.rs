//! A command's arguments, borrowed from the buffer they arrived in.

/// Where one argument lies in its buffer. 32 bits suffice: a query buffer is limited to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

/// A command's name and arguments as slices of one buffer. Copying it copies two fat pointers.
#[derive(Clone, Copy)]
pub struct Argv<'a> {
    buf: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Argv<'a> {
    pub fn new(buf: &'a [u8], spans: &'a [Span]) -> Self {
        Argv { buf, spans }
    }

    /// Number of arguments, the command's name included.
    #[allow(clippy::len_without_is_empty)] // a command always has a name
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Argument `index`, 0 being the command's name. Panics when out of range: arity is checked before.
    #[inline]
    pub fn get(&self, index: usize) -> &'a [u8] {
        let span = self.spans[index];
        &self.buf[span.start as usize..(span.start + span.len) as usize]
    }

    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len()).map(move |index| self.get(index))
    }

    pub fn to_owned(&self) -> OwnedArgv {
        OwnedArgv::from_iter(self.iter())
    }

    /// The same command without its first `count` arguments (a subcommand without its container's name).
    pub fn skip(self, count: usize) -> Argv<'a> {
        Argv { buf: self.buf, spans: &self.spans[count..] }
    }
}

/// A command that outlives the buffer it came in: queued by MULTI, parked behind a lock, sent to a core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedArgv {
    buf: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgv {
    pub fn push(&mut self, argument: &[u8]) {
        self.spans.push(Span { start: self.buf.len() as u32, len: argument.len() as u32 });
        self.buf.extend_from_slice(argument);
    }

    pub fn borrow(&self) -> Argv<'_> {
        Argv::new(&self.buf, &self.spans)
    }

    /// Bytes this command pins, for the limits of queues that hold it.
    pub fn memory(&self) -> usize {
        self.buf.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

impl<'a> FromIterator<&'a [u8]> for OwnedArgv {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(arguments: I) -> Self {
        let mut argv = OwnedArgv::default();
        arguments.into_iter().for_each(|argument| argv.push(argument));
        argv
    }
}
