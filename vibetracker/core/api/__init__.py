"""The rules that the operations of every feature share."""
