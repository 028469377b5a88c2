"""Write the page of all metrics, docs/metrics.md."""

from pathlib import Path

from consumer.observe.reference import metrics_page

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"

if __name__ == "__main__":
    PAGE.write_text(metrics_page(), encoding="utf-8")
    print(PAGE.relative_to(PAGE.parent.parent))
