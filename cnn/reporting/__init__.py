"""What people read after training: scores, pictures, report, leaderboard. Knows nothing of how it was trained."""
