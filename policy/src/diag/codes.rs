//! The codes of all messages about policy files. A code keeps its meaning for ever; `docs/errors.md`
//! has an example of each.

use super::Code;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: Code = Code::new($code);)+

        /// Every code, in order.
        pub const ALL: &[Code] = &[$($name),+];
    };
}

codes! {
    /// The text is not YAML.
    YAML_SYNTAX = "E0101";
    /// A feature of YAML that these files do without: anchors, aliases, tags, directives,
    /// block scalars, several documents, keys that are not single values.
    YAML_FEATURE = "E0102";
    /// The file is too long, nested too deep, or has too many values.
    TOO_LARGE = "E0103";
    /// A control character in the text.
    CONTROL_CHARACTER = "E0104";
    /// A list where a mapping belongs, and the like.
    WRONG_KIND = "E0105";
    /// A key that does not exist.
    UNKNOWN_KEY = "E0106";
    /// A key that is given twice.
    DUPLICATE_KEY = "E0107";
    /// A key that has to be there is not.
    MISSING_KEY = "E0108";
    /// A part of the policy language that this version does not have yet.
    NOT_SUPPORTED = "E0109";
    /// Keys that exclude each other.
    CONFLICTING_KEYS = "E0110";
    /// A version of the policy language that this program can't read.
    UNSUPPORTED_VERSION = "E0111";
    /// A list or mapping without entries.
    EMPTY = "E0112";

    /// A name that can't be one.
    BAD_NAME = "E0201";
    /// A zone that is not defined.
    UNKNOWN_ZONE = "E0202";
    /// An object or group that is not defined.
    UNKNOWN_OBJECT = "E0203";
    /// A service that is not defined.
    UNKNOWN_SERVICE = "E0204";
    /// A rule that does not exist.
    UNKNOWN_RULE = "E0205";
    /// A name that is used twice.
    DUPLICATE_NAME = "E0206";
    /// A `seq` that is used twice.
    DUPLICATE_SEQ = "E0207";
    /// A group that contains itself.
    CYCLE = "E0208";
    /// An interface pattern that is used twice.
    DUPLICATE_INTERFACE = "E0209";

    /// Not an address, prefix or range.
    BAD_ADDRESS = "E0301";
    /// A prefix with bits set behind its length.
    HOST_BITS = "E0302";
    /// Not a port or range of ports.
    BAD_PORT = "E0303";
    /// Not a protocol.
    BAD_PROTOCOL = "E0304";
    /// Not an ICMP type and code.
    BAD_ICMP = "E0305";
    /// Not an interface name or pattern.
    BAD_INTERFACE = "E0306";
    /// Not a number, or out of range.
    BAD_NUMBER = "E0307";
    /// None of the words that are possible here.
    BAD_WORD = "E0308";
    /// More zones, or more addresses over all rules, than can be compiled.
    TOO_MANY = "E0309";

    /// A NAT rule that does not say what it translates to.
    NO_TRANSLATION = "E0401";
    /// A translation to something that is not one address for each family.
    NOT_ONE_ADDRESS = "E0402";
    /// A NAT rule without an address family left.
    NO_FAMILY = "E0403";
    /// A translation of ports for a service that has none.
    NO_PORTS = "E0404";

    /// A test of the policy failed.
    TEST_FAILED = "E0501";
    /// The outcome of a test depends on the egress zone, which it does not name.
    TEST_AMBIGUOUS = "E0502";
    /// A test that does not describe a packet.
    TEST_INCOMPLETE = "E0503";

    /// A rule that repeats an earlier one.
    DUPLICATE_RULE = "W0101";
    /// A rule that one earlier rule takes every packet from.
    SHADOWED_RULE = "W0102";
    /// A rule that several earlier rules together take every packet from.
    UNREACHABLE_RULE = "W0103";
    /// A rule that an earlier rule with another action takes a whole entry from.
    PARTLY_SHADOWED = "W0104";
    /// A rule that no packet can match.
    EMPTY_MATCH = "W0105";
    /// A definition that nothing uses.
    UNUSED = "W0106";
}
