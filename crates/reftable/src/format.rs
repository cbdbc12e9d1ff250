//! The reftable format, as this crate reads and writes it.
//!
//! The authority is git's `Documentation/technical/reftable.adoc`. This description also covers the places where git's
//! output differs from that document.
//!
//! # The stack
//!
//! The refs of a repository are in the folder `reftable` of its git directory. The folder holds *tables* and the file
//! `tables.list`, which names the current tables, one name per line, each line ended by a newline, oldest table first.
//! A table never changes once it is listed. A file that is not listed is not part of the refs: it is about to be added,
//! or about to be deleted.
//!
//! The newest table that mentions a ref decides its value. That table can also record that the ref is deleted; such a
//! *tombstone* hides the ref in all older tables.
//!
//! A writer appends a table, or *compacts*: it replaces neighboring tables by one with the same meaning. Both replace
//! `tables.list` as a whole, by a rename. After a compaction the replaced tables are unlinked. A reader that has read
//! the old list may therefore find a table missing; it then reads the list again. A table that is open stays readable
//! after it was unlinked, so a reader that has opened all tables of one list has a snapshot.
//!
//! # A table
//!
//! ```text
//! header
//! ref blocks                 the first begins right after the header
//! ref index blocks           may be missing; in levels, the root level last
//! object blocks, their index may be missing; skipped by this crate
//! log blocks, their index    may be missing; skipped by this crate
//! footer
//! ```
//!
//! Integers of a fixed width are big-endian; `u24` has three bytes. All offsets count from the start of the file.
//!
//! ## Header
//!
//! ```text
//! "REFT"
//! u8   version            1 or 2
//! u24  block size         0: blocks are not aligned
//! u64  min_update_index
//! u64  max_update_index
//! u32  hash               version 2 only: "sha1" or "s256"
//! ```
//!
//! 24 bytes in version 1, which always has SHA-1 ids; 28 bytes in version 2.
//!
//! ## Footer
//!
//! ```text
//! the header again
//! u64  position of the root level of the ref index
//! u64  position of the first object block << 5 | bytes of an abbreviated id
//! u64  position of the object index
//! u64  position of the first log block
//! u64  position of the log index
//! u32  CRC-32 of the footer up to here
//! ```
//!
//! 68 bytes in version 1, 72 in version 2, at the very end of the file. A position is 0 if its section is missing.
//! A table that holds only logs has its first log block right after the header; git then writes 0 as the position of
//! the logs. A table without any block is header and footer.
//!
//! The CRC-32 covers the footer only. **Nothing protects the blocks**, see [what is checked](#what-is-checked).
//!
//! ## Blocks
//!
//! ```text
//! u8   type               'r' refs, 'i' index, 'o' objects, 'g' log
//! u24  length             of the block, without padding
//! records
//! u24  restart offset     once per restart point, relative to the block, ascending
//! u16  number of restart points, at least 1
//! ```
//!
//! The first block of a file shares its start with the file: its length and its restart offsets count from offset 0 and
//! so include the header.
//!
//! In an aligned table a block is padded with NUL to the block size. The last block of a section may omit the padding:
//! if the byte after a block is not NUL, the next block begins there. An index block may be longer than the block size.
//! In an unaligned table, blocks follow each other directly. Log blocks are compressed and never aligned.
//!
//! ## Records
//!
//! Records are ordered by their keys, strictly ascending by bytes, within a block and within a section. A key is
//! stored as the number of bytes that it shares with the key before it, and the rest. At a *restart point* nothing is
//! shared, so reading can begin there: a binary search over the restart points comes before the linear scan.
//!
//! ```text
//! varint  length of the shared prefix
//! varint  length of the suffix << 3 | type
//! bytes   suffix
//! ```
//!
//! A ref record continues with `varint(update_index - min_update_index)` and, depending on its type:
//!
//! | type | value |
//! |---|---|
//! | 0 | nothing: a tombstone |
//! | 1 | an object id |
//! | 2 | the object id of an annotated tag, and the id of the object that it leads to |
//! | 3 | `varint` length and name of the ref that this symbolic ref points to |
//!
//! An index record, type 0, continues with the `varint` offset of a block. Its key is the last key of that block. The
//! block is a ref block or an index block of the next level. Lower levels are written first, so an index record always
//! points backwards. git closes a level that fits into three blocks, so the root level may have more than one block.
//!
//! A `varint` is the one of offset deltas in packs: seven bits per byte, the most significant first, the high bit set
//! on all but the last byte; each continuation adds one to the value before the shift.
//!
//! # Log blocks
//!
//! A log block is `'g'`, its `u24` length before compression, and its content, compressed by zlib. They are written only.
//! The key of a record is the name of the ref, a NUL byte, and the inverse of the update index as `u64`, so that the newest
//! line comes first. Type 1 continues with the old and the new id, name, e-mail address, `varint` seconds since 1970, a
//! `u16` offset from UTC, and the message; each text has a `varint` length before it. The offset of `+0530` is 530 in git,
//! not a number of minutes as in the specification.
//!
//! # What is written
//!
//! Tables have the form of git's: version 1 for SHA-1 and 2 for SHA-256, blocks of 4096 bytes, 16 records from one restart
//! point to the next, an index over more than three blocks. Object blocks are left out; git adds them when it compacts.
//!
//! # What is checked
//!
//! Damaged bytes must not make a ref seem absent, or the refs seem to end early. As far as redundancy in the format
//! allows it, these checks find the damage:
//!
//! - Every block that is read is checked as a whole: lengths, order of the keys, restart points at the beginnings of
//!   records without a shared prefix, record types.
//! - Ref blocks end where the footer says that another section begins, or at the footer. With an index, the last ref
//!   is the one that the index names as its last.
//! - A block that an index record leads to ends with the key of that record. Index records point backwards.
//!
//! Some damage cannot be noticed: a changed bit within an object id, a target, or an update index; a changed name that
//! still fits into the order; a changed record type, if the record then ends at the end of the next one.
