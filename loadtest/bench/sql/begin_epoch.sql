-- Let every round be at its first epoch, as after the first recovery.
UPDATE rounds SET epoch = 1
