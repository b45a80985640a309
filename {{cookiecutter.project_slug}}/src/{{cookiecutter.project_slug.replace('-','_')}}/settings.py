"""The settings of this service: the engine's, and yours beside them.

Each is an environment variable: SERVING_ and the field's name. `serve --help` lists all of them.
"""

from typing import ClassVar

from serving_engine import ServingSettings


class Settings(ServingSettings):
    """Add a field for a setting of your own; repeat one of the engine's to change its default:

    ```
    greeting: str = "hello"
    \"\"\"What `/hello` answers: SERVING_GREETING.\"\"\"

    max_rows: int = 100
    \"\"\"Most rows in one request.\"\"\"
    ```
    """

{% if cookiecutter.model_runtime == "scikit-learn" %}
    transformers: ClassVar[str | None] = f"{__package__}.transformers"
{% else %}
    runtime: ClassVar[str] = "{{ cookiecutter.model_runtime }}"
{% endif %}
{% if cookiecutter.model_runtime == "python" %}
    model_class: ClassVar[str | None] = f"{__package__}.model:Model"
{% endif %}
