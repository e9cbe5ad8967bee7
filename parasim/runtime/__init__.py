"""What both runtimes share: the interpreter of an actor, its mailbox, and the rule that guards buffers."""
