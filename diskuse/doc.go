// Package diskuse says what files take on a disk, and how much room is left.
//
// A [Count] adds files up by the blocks they hold, each inode once however
// many names it has, and knows how much of that would come free if the names
// it was given went: an inode with a name elsewhere frees nothing. [Room] asks
// a file system. Where the system cannot tell (Windows), sizes stand for
// blocks and every name for an inode.
//
// A Count is for one goroutine; the functions may be called from any.
package diskuse
