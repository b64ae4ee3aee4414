"""What a person looks at after training: `loss.png` and one self-contained `report.html`, made from a run's files."""
