"""Assignments made of the book's exercises, and their grading. See the page *Teaching*."""
