"""PlanService and CreditBundleService."""

from __future__ import annotations

from lava.v1 import credit_bundle_service_pb2 as bundles_pb
from lava.v1 import plan_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import pages, plans
from lava_grpc.api.messages.texts import optional_text
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.plans import Plans
from lava_grpc.gateway.principal import Principal


class PlanHandlers:
    """The merchant's plans and their bundles."""

    def __init__(self, plans_use_case: Plans) -> None:
        self._plans = plans_use_case

    def table(self) -> Handlers:
        """By full method name."""
        service, bundles = "lava.v1.PlanService", "lava.v1.CreditBundleService"
        return {
            f"{service}/CreatePlan": self.create,
            f"{service}/ListPlans": self.list,
            f"{service}/GetPlan": self.get,
            f"{service}/UpdatePlan": self.update,
            f"{service}/DeletePlan": self.delete,
            f"{bundles}/ListCreditBundles": self.list_bundles,
            f"{bundles}/GetCreditBundle": self.get_bundle,
        }

    async def create(
        self, request: pb.CreatePlanRequest, principal: Principal, _deadline: float | None
    ) -> pb.CreatePlanResponse:
        """Create a plan."""
        plan = await self._plans.create(principal, plans.to_plan(request))
        return pb.CreatePlanResponse(plan=plans.from_plan(plan))

    async def list(
        self, request: pb.ListPlansRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListPlansResponse:
        """A page of plans."""
        found = await self._plans.list(principal, pages.to_page(request))
        return pb.ListPlansResponse(
            data=[plans.from_plan(plan) for plan in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def get(
        self, request: pb.GetPlanRequest, principal: Principal, _deadline: float | None
    ) -> pb.GetPlanResponse:
        """One plan."""
        plan = await self._plans.get(principal, check_text(request.plan_id, "plan_id"))
        return pb.GetPlanResponse(plan=plans.from_plan(plan))

    async def update(
        self, request: pb.UpdatePlanRequest, principal: Principal, _deadline: float | None
    ) -> pb.UpdatePlanResponse:
        """Change a plan."""
        plan_id = check_text(request.plan_id, "plan_id")
        plan = await self._plans.update(principal, plan_id, plans.to_changes(request))
        return pb.UpdatePlanResponse(plan=plans.from_plan(plan))

    async def delete(
        self, request: pb.DeletePlanRequest, principal: Principal, _deadline: float | None
    ) -> pb.DeletePlanResponse:
        """Delete a plan."""
        plan_id = await self._plans.delete(principal, check_text(request.plan_id, "plan_id"))
        return pb.DeletePlanResponse(id=plan_id, deleted=True)

    async def list_bundles(
        self,
        request: bundles_pb.ListCreditBundlesRequest,
        principal: Principal,
        _deadline: float | None,
    ) -> bundles_pb.ListCreditBundlesResponse:
        """A page of bundles."""
        plan_id = optional_text(request, "plan_id")
        found = await self._plans.bundles(principal, plan_id, pages.to_page(request))
        return bundles_pb.ListCreditBundlesResponse(
            data=[plans.from_bundle(bundle) for bundle in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def get_bundle(
        self,
        request: bundles_pb.GetCreditBundleRequest,
        principal: Principal,
        _deadline: float | None,
    ) -> bundles_pb.GetCreditBundleResponse:
        """One bundle."""
        ident = check_text(request.credit_bundle_id, "credit_bundle_id")
        bundle = await self._plans.bundle(principal, ident)
        return bundles_pb.GetCreditBundleResponse(credit_bundle=plans.from_bundle(bundle))
