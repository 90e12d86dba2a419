"""The results of a run for people: scores, figures, report, leaderboard. Independent of `cnn.training`."""
