"""The operations."""

from typing import Any

from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from .models import Status, Task
from .serializers import BatchSerializer, NewTaskSerializer, TaskSerializer, make_tasks

STATUSES = {label: value for value, label in Status.choices}


class NewestFirst(CursorPagination):
    """Pages of a list, the newest first."""

    page_size = 50
    ordering = ("-created_at", "id")

    def get_paginated_response(self, data: Any) -> Response:
        """Return the tasks, and the link to the next page."""
        return Response({"items": data, "next": self.get_next_link()})


class TaskViewSet(
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    viewsets.GenericViewSet,
):
    """Tasks."""

    queryset = Task.objects.all()
    pagination_class = NewestFirst
    http_method_names = ["get", "post", "patch"]

    def get_serializer_class(self) -> type[TaskSerializer | NewTaskSerializer]:
        """Return the serializer of the operation."""
        return NewTaskSerializer if self.action == "create" else TaskSerializer

    def get_queryset(self) -> Any:
        """Return the tasks that the operation works on."""
        tasks = super().get_queryset()
        if self.action == "partial_update":
            # A task's tags are read once, when it is written.
            return tasks
        tasks = tasks.prefetch_related("tags")
        if self.action != "list":
            return tasks
        tasks = tasks.filter(deleted_at=None)
        query = self.request.query_params
        if "status" in query:
            if query["status"] not in STATUSES:
                raise ValidationError({"status": f"One of {', '.join(STATUSES)}"})
            tasks = tasks.filter(status=STATUSES[query["status"]])
        if "tag" in query:
            tasks = tasks.filter(tags__key=query["tag"].casefold())
        for term in query.get("q", "").casefold().split():
            tasks = tasks.filter(search_text__contains=term)
        return tasks

    @action(detail=False, methods=["post"])
    def batch(self, request: Request) -> Response:
        """Create many tasks."""
        serializer = BatchSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        operations = serializer.validated_data["operations"]
        tasks = make_tasks([operation["data"] for operation in operations])
        made = TaskSerializer(tasks, many=True).data
        return Response(
            {"results": [{"status": 201, "id": task["id"], "task": task} for task in made]}
        )
