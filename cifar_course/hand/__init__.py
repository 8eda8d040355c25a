"""What is handed out and handed in: the student edition, the write-up, grading."""
