// Package layer turns a layer's tar stream into a directory that overlayfs can
// use as a lower layer of its own, and removes and measures such trees.
//
// It is not a differ (there is no way back to the tar) and it does not apply a
// layer onto another: a whiteout becomes the character device 0:0, an opaque
// mark the overlay attribute, and the kernel puts the layers together.
//
// The trap: the tar is hostile, and so is a tree that a container has written.
// No path in either may be resolved as a string from outside. Parents are
// opened by openat2 below the tree's own descriptor, the last part is never
// followed, and depth and width are what the attacker chose.
package layer
