"""What a run makes smaller: the task's loss, and around it what the config adds to it; one file each, joined in `compose`."""
