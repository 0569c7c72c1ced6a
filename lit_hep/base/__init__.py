"""What the tasks share: BaseTask, ClassificationTask, BaseDataModule."""
