"""Running a fork's own code, in a confined child process.

`--fork DIR_OR_FILE` says that the user trusts the code in that folder. It is executed in a child
process alone, which can reach nothing but that folder, the Python environment and a temporary
folder, and the parent reads only plain numbers and an ONNX graph from it.

    fork_folder     the files of the fork, their hashes, what the child sees of the machine
    namespaces      user, mount, network and process namespaces; the read-only file system
    syscall_filter  no further processes, programs, or ways around the memory limit
    confine         the program that starts the child: namespaces, limits, filter, in that order
    messages        what parent and child say to each other
    fork_process    the parent's handle: starts, asks, limits the time, ends the whole tree
    child_settings  what the child is given: limits, environment
    fork_checkpoint a checkpoint whose network only the fork's code can build
    absent          stand-ins for optional packages that are imported and not used
    fork_loading    the child's side: the checkpoint with the fork's classes
    raw_output      the child's side: the raw output among what a network returns

The child's program is `export.fork_child`, which also exports to ONNX.

`confine`, `namespaces` and `syscall_filter` import the standard library alone: a thread that a
package starts would forbid the user namespace.
"""
