"""What a training config names beside the components: batchers, readers, schedules."""
