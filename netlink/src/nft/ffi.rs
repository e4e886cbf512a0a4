//! The unsafe edge to libnftnl: expressions as its objects, our own messages in its batch.
#![expect(unsafe_code, reason = "libnftnl is C; the crate nftnl leaves these parts to its users")]

use super::expr::{Expr, Value};
use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;
use nftnl::{MsgType, NlMsg, Rule};
use std::ffi::c_void;
use std::ptr::{self, NonNull};

impl Expression for Expr {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        // SAFETY: the name is a string with a closing zero. The result is null for an unknown
        // name or without memory.
        let expr = unsafe { sys::nftnl_expr_alloc(self.name.as_ptr()) };
        let Some(expr) = NonNull::new(expr) else {
            // Every name is one that this libnftnl has (a test builds each), so memory is out,
            // and the trait has no way to say so.
            std::process::abort();
        };
        for (kind, value) in &self.attributes {
            set(expr, *kind as u16, value);
        }
        expr
    }
}

/// A message that is already encoded, for nftnl's batch. Its sequence number is written by the
/// batch.
pub(super) struct Encoded<'a> {
    bytes: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// Takes one message, header included, or `None` when it is longer than the room that a batch
    /// has for one.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let room = nftnl::nft_nlmsg_maxsize() as usize;
        (bytes.len() <= room && bytes.len() >= SEQUENCE.end).then_some(Self { bytes })
    }
}

/// Where `struct nlmsghdr` has its sequence number.
const SEQUENCE: std::ops::Range<usize> = 8..12;

// SAFETY: `new` made sure that the message fits into what `write` is promised.
unsafe impl NlMsg for Encoded<'_> {
    unsafe fn write(&self, buffer: *mut c_void, seq: u32, _kind: MsgType) {
        // SAFETY: the caller promises room for `nft_nlmsg_maxsize` bytes, `new` checked that the
        // message is no longer and that it has a whole header; the memory is not ours, so the two
        // don't overlap.
        unsafe {
            let buffer = buffer.cast::<u8>();
            ptr::copy_nonoverlapping(self.bytes.as_ptr(), buffer, self.bytes.len());
            ptr::copy_nonoverlapping(seq.to_ne_bytes().as_ptr(), buffer.add(SEQUENCE.start), 4);
        }
    }
}

fn set(expr: NonNull<sys::nftnl_expr>, kind: u16, value: &Value) {
    let expr = expr.as_ptr();
    // SAFETY: `expr` is a live object; numbers, data and text are copied out of memory that lives
    // through the call; what libnftnl takes over was allocated by malloc, as it frees it by free.
    unsafe {
        match value {
            Value::Number(number) => sys::nftnl_expr_set_u32(expr, kind, *number),
            Value::Byte(byte) => sys::nftnl_expr_set_u8(expr, kind, *byte),
            Value::Text(text) => {
                sys::nftnl_expr_set_str(expr, kind, text.as_ptr());
            }
            Value::Data(data) => {
                sys::nftnl_expr_set(expr, kind, data.as_ptr().cast(), data.len() as u32);
            }
            Value::Given(data) => {
                let given = libc::malloc(data.len());
                if given.is_null() {
                    std::process::abort();
                }
                ptr::copy_nonoverlapping(data.as_ptr(), given.cast::<u8>(), data.len());
                sys::nftnl_expr_set(expr, kind, given, data.len() as u32);
            }
        }
    }
}
