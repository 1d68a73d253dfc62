"""The tables, as this application sees them."""

from django.db import models
from django.utils import timezone


class Status(models.IntegerChoices):
    """How far a task is."""

    TODO = 0, "todo"
    IN_PROGRESS = 1, "in_progress"
    DONE = 2, "done"
    CANCELLED = 3, "cancelled"


class Priority(models.IntegerChoices):
    """How urgent a task is."""

    NONE = 0, "none"
    LOW = 1, "low"
    MEDIUM = 2, "medium"
    HIGH = 3, "high"
    URGENT = 4, "urgent"


class Tag(models.Model):
    """A tag; tags are sorted by their names, ignoring case."""

    name = models.TextField()
    key = models.TextField(unique=True)

    class Meta:
        managed = False
        db_table = "tags"
        ordering = ["key"]


class Task(models.Model):
    """A task."""

    title = models.CharField(max_length=500)
    title_key = models.TextField()
    description = models.TextField(blank=True, default="")
    search_text = models.TextField()
    status = models.SmallIntegerField(choices=Status, default=Status.TODO)
    priority = models.SmallIntegerField(choices=Priority, default=Priority.NONE)
    due_on = models.DateField(null=True)
    due_at = models.DateTimeField(null=True)
    start_at = models.DateTimeField(null=True)
    parent = models.ForeignKey("self", models.CASCADE, null=True)
    project_id = models.BigIntegerField(null=True)
    position = models.TextField()
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    version = models.BigIntegerField(default=1)
    deleted_at = models.DateTimeField(null=True)
    tags = models.ManyToManyField(Tag, through="TaskTag")

    class Meta:
        managed = False
        db_table = "tasks"

    def derive(self) -> None:
        """Set what tasks are searched and sorted by."""
        self.title_key = self.title.casefold()
        self.search_text = f"{self.title}\n{self.description}".casefold()


class TaskTag(models.Model):
    """A tag of a task."""

    pk = models.CompositePrimaryKey("task", "tag")
    task = models.ForeignKey(Task, models.CASCADE, db_column="owner_id")
    tag = models.ForeignKey(Tag, models.CASCADE)

    class Meta:
        managed = False
        db_table = "task_tags"
