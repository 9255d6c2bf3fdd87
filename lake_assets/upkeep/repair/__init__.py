"""Put back what can be put back. `lake repair`."""

from __future__ import annotations

from lake_assets.upkeep.repair.model import Action, Hopeless, Plan, Step
from lake_assets.upkeep.repair.run import Request, carry_out, held, known_names, plan_repair

__all__ = [
    "Action",
    "Hopeless",
    "Plan",
    "Request",
    "Step",
    "carry_out",
    "held",
    "known_names",
    "plan_repair",
]
