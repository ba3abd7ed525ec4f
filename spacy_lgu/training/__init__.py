"""What a training config names besides the components: batchers, readers, schedules."""
