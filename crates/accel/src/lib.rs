//! The accelerator: partition set-up, vCPU run loops, exits, interrupts, over any platform.
