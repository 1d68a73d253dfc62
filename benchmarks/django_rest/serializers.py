"""What comes in and goes out."""

from typing import Any

from django.db import transaction
from django.db.models import F, prefetch_related_objects
from django.utils import timezone
from rest_framework import serializers

from vibetracker.features.tasks import ranking

from .models import Tag, Task, TaskTag


class LabelField(serializers.ChoiceField):
    """A choice that is spelled as its label."""

    def to_representation(self, value: int) -> Any:
        """Return the label."""
        return self.choices[value]

    def to_internal_value(self, data: object) -> Any:
        """Find the value of a label."""
        for value, label in self.choices.items():
            if label == data:
                return value
        return self.fail("invalid_choice", input=data)


class TaskSerializer(serializers.ModelSerializer):
    """A task as it goes out, and changes to one."""

    serializer_choice_field = LabelField
    tags = serializers.SlugRelatedField(many=True, read_only=True, slug_field="name")

    class Meta:
        model = Task
        fields = [
            "id",
            "title",
            "description",
            "status",
            "priority",
            "due_on",
            "due_at",
            "start_at",
            "parent_id",
            "project_id",
            "tags",
            "position",
            "started_at",
            "completed_at",
            "cancelled_at",
            "created_at",
            "updated_at",
            "version",
            "deleted_at",
        ]
        read_only_fields = sorted({*fields} - {"title", "description", "priority", "tags"})

    def update(self, instance: Task, validated_data: dict[str, Any]) -> Task:
        """Write what changes, as the next version."""
        changes = {
            name: value
            for name, value in validated_data.items()
            if getattr(instance, name) != value
        }
        if changes:
            for name, value in changes.items():
                setattr(instance, name, value)
            instance.derive()
            instance.updated_at = timezone.now()
            # The database counts, so that two changes at once make two versions.
            instance.version = F("version") + 1
            instance.save(
                update_fields=[*changes, "title_key", "search_text", "updated_at", "version"]
            )
        return instance


class NewTaskSerializer(serializers.ModelSerializer):
    """A task as it comes in."""

    serializer_choice_field = LabelField
    # A SlugRelatedField would look each name up by a statement of its own.
    tags = serializers.ListField(child=serializers.CharField(), default=[])

    class Meta:
        model = Task
        fields = ["title", "description", "priority", "tags"]

    def create(self, validated_data: dict[str, Any]) -> Task:
        """Create the task."""
        (task,) = make_tasks([validated_data])
        return task

    def to_representation(self, instance: Task) -> Any:
        """Return the task as it is read."""
        return TaskSerializer(instance, context=self.context).data


class OperationSerializer(serializers.Serializer):
    """One operation of a batch."""

    op = serializers.ChoiceField(["create"])
    data = NewTaskSerializer()


class BatchSerializer(serializers.Serializer):
    """A batch."""

    operations = OperationSerializer(many=True)


def make_tasks(contents: list[dict[str, Any]]) -> list[Task]:
    keys = {name.casefold() for content in contents for name in content["tags"]}
    with transaction.atomic():
        tags = {tag.key: tag for tag in Tag.objects.filter(key__in=keys)}
        if missing := keys - tags.keys():
            raise serializers.ValidationError({"tags": f"There is no tag {min(missing)}"})
        # By the parent too, for PostgreSQL takes the index on parent and position then.
        siblings = Task.objects.filter(parent=None).order_by("-parent", "-position")
        position = siblings.values_list("position", flat=True).first()
        tasks = []
        pairs = []
        for content in contents:
            position = ranking.behind(position, ranking.further(content["title"]))
            tag_keys = {name.casefold() for name in content.pop("tags")}
            task = Task(**content, position=position)
            task.derive()
            tasks.append(task)
            pairs += [TaskTag(task=task, tag=tags[key]) for key in tag_keys]
        Task.objects.bulk_create(tasks)
        TaskTag.objects.bulk_create(pairs)
    prefetch_related_objects(tasks, "tags")
    return tasks
