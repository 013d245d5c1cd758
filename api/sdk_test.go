package api_test

import (
	"context"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aml "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/sluice-ml/sluice"
)

// fixedToken is a credential that never changes.
type fixedToken string

func (f fixedToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(f), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// sdk is the official client, unmodified.
type sdk struct {
	*aml.ClientFactory
	t   *testing.T
	ctx context.Context
}

const rg, wsName = "g1", "default"

func newSDK(t *testing.T, w *world) sdk {
	t.Helper()
	factory, err := aml.NewClientFactory("s1", fixedToken(token), &arm.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: w.server.Client(),
		Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: w.server.URL, Audience: "https://sluice.test"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return sdk{factory, t, ctx}
}

// quick polls as often as the client allows.
var quick = &runtime.PollUntilDoneOptions{Frequency: time.Millisecond}

func (c sdk) must(what string, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}

func TestOfficialGoSDK(t *testing.T) {
	w := newWorld(t)
	w.reconcile(nil)
	c := newSDK(t, w)

	ws, err := c.NewWorkspacesClient().Get(c.ctx, rg, wsName, nil)
	c.must("workspace", err)
	if *ws.ID != "/subscriptions/s1/resourceGroups/g1/providers/Microsoft.MachineLearningServices/workspaces/default" {
		t.Errorf("workspace id is %s", *ws.ID)
	}
	c.assets(w)
	c.createEndpoint()
	c.createDeployment()
	c.readAndList()
	c.keys()
	c.change()
	c.delete()
}

// assets registers a model, code and an environment.
func (c sdk) assets(w *world) {
	pending, err := c.NewCodeVersionsClient().CreateOrGetStartPendingUpload(c.ctx, rg, wsName, "c", "1",
		aml.PendingUploadRequestDto{PendingUploadType: to.Ptr(aml.PendingUploadTypeTemporaryBlobReference)}, nil)
	c.must("startPendingUpload", err)
	sas, ok := pending.BlobReferenceForConsumption.Credential.(*aml.SASCredentialDto)
	if !ok || sas.SasURI == nil {
		c.t.Fatalf("the upload's credential decodes to %T", pending.BlobReferenceForConsumption.Credential)
	}
	code, err := c.NewCodeVersionsClient().CreateOrUpdate(c.ctx, rg, wsName, "c", "1", aml.CodeVersion{
		Properties: &aml.CodeVersionProperties{CodeURI: to.Ptr(w.upload(sluice.KindCode, "src", "score.py", "def run(): pass"))}}, nil)
	c.must("code", err)
	if code.SystemData == nil || code.SystemData.CreatedAt == nil {
		c.t.Error("a code version has no systemData")
	}
	model, err := c.NewModelVersionsClient().CreateOrUpdate(c.ctx, rg, wsName, "m", "1", aml.ModelVersion{
		Properties: &aml.ModelVersionProperties{ModelType: to.Ptr("custom_model"),
			ModelURI: to.Ptr(w.upload(sluice.KindModel, "model", "m.bin", "weights"))}}, nil)
	c.must("model", err)
	if model.Properties.Flavors == nil || model.SystemData == nil {
		c.t.Error("a model version needs flavors and systemData")
	}
	_, err = c.NewEnvironmentVersionsClient().CreateOrUpdate(c.ctx, rg, wsName, "e", "1", aml.EnvironmentVersion{
		Properties: &aml.EnvironmentVersionProperties{Image: to.Ptr("mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"),
			CondaFile: to.Ptr("dependencies: [python=3.11]\n")}}, nil)
	c.must("environment", err)
	container, err := c.NewModelContainersClient().Get(c.ctx, rg, wsName, "m", nil)
	c.must("model container", err)
	if *container.Properties.LatestVersion != "1" || *container.Properties.NextVersion != "2" {
		c.t.Errorf("latest %s next %s, want 1 and 2", *container.Properties.LatestVersion, *container.Properties.NextVersion)
	}
}

func (c sdk) createEndpoint() {
	poller, err := c.NewOnlineEndpointsClient().BeginCreateOrUpdate(c.ctx, rg, wsName, "iris", aml.OnlineEndpoint{
		Location: to.Ptr("local"), Tags: map[string]*string{"a": to.Ptr("b")},
		Identity: &aml.ManagedServiceIdentity{Type: to.Ptr(aml.ManagedServiceIdentityTypeSystemAssigned)},
		Properties: &aml.OnlineEndpointProperties{AuthMode: to.Ptr(aml.EndpointAuthModeKey), Description: to.Ptr("d"),
			PublicNetworkAccess: to.Ptr(aml.PublicNetworkAccessTypeEnabled)},
	}, nil)
	c.must("creating the endpoint", err)
	e, err := poller.PollUntilDone(c.ctx, quick)
	c.must("polling the endpoint", err)
	if *e.Properties.ProvisioningState != aml.EndpointProvisioningStateSucceeded || *e.Properties.ScoringURI == "" || *e.Tags["a"] != "b" {
		c.t.Errorf("endpoint after creation: %+v", *e.Properties)
	}
}

func (c sdk) createDeployment() {
	poller, err := c.NewOnlineDeploymentsClient().BeginCreateOrUpdate(c.ctx, rg, wsName, "iris", "blue", aml.OnlineDeployment{
		Location: to.Ptr("local"), SKU: &aml.SKU{Name: to.Ptr("Default"), Capacity: to.Ptr[int32](2)},
		Properties: &aml.ManagedOnlineDeployment{
			EndpointComputeType: to.Ptr(aml.EndpointComputeTypeManaged),
			Model:               to.Ptr("azureml:m:1"), EnvironmentID: to.Ptr("azureml:e@latest"),
			CodeConfiguration: &aml.CodeConfiguration{CodeID: to.Ptr("azureml:c:1"), ScoringScript: to.Ptr("score.py")},
			InstanceType:      to.Ptr("Standard_DS3_v2"), EnvironmentVariables: map[string]*string{"X": to.Ptr("1")},
			RequestSettings: &aml.OnlineRequestSettings{RequestTimeout: to.Ptr("PT7.5S"), MaxConcurrentRequestsPerInstance: to.Ptr[int32](3)},
			ScaleSettings:   &aml.DefaultScaleSettings{ScaleType: to.Ptr(aml.ScaleTypeDefault)},
		},
	}, nil)
	c.must("creating the deployment", err)
	d, err := poller.PollUntilDone(c.ctx, quick)
	c.must("polling the deployment", err)
	p, ok := d.Properties.(*aml.ManagedOnlineDeployment)
	if !ok {
		c.t.Fatalf("the deployment decodes to %T", d.Properties)
	}
	if *p.ProvisioningState != aml.DeploymentProvisioningStateSucceeded || *d.SKU.Capacity != 2 || *p.RequestSettings.RequestTimeout != "PT7.5S" {
		c.t.Errorf("deployment after creation: %+v", *p)
	}
	const want = "/subscriptions/s1/resourceGroups/g1/providers/Microsoft.MachineLearningServices/workspaces/default/environments/e/versions/1"
	if *p.EnvironmentID != want {
		c.t.Errorf("environment id is %s, want %s", *p.EnvironmentID, want)
	}
}

func (c sdk) readAndList() {
	pager := c.NewOnlineEndpointsClient().NewListPager(rg, wsName, &aml.OnlineEndpointsClientListOptions{
		Count: to.Ptr[int32](1), OrderBy: to.Ptr(aml.OrderStringCreatedAtDesc), ComputeType: to.Ptr(aml.EndpointComputeTypeManaged)})
	endpoints := 0
	for pager.More() {
		page, err := pager.NextPage(c.ctx)
		c.must("listing endpoints", err)
		endpoints += len(page.Value)
	}
	if endpoints != 1 {
		c.t.Errorf("listed %d endpoints, want 1", endpoints)
	}
	deployments := c.NewOnlineDeploymentsClient().NewListPager(rg, wsName, "iris", &aml.OnlineDeploymentsClientListOptions{
		OrderBy: to.Ptr("createdAt desc"), Top: to.Ptr[int32](5)})
	page, err := deployments.NextPage(c.ctx)
	c.must("listing deployments", err)
	if len(page.Value) != 1 || *page.Value[0].Name != "blue" {
		c.t.Errorf("listed deployments: %d", len(page.Value))
	}
	logs, err := c.NewOnlineDeploymentsClient().GetLogs(c.ctx, rg, wsName, "iris", "blue",
		aml.DeploymentLogsRequest{ContainerType: to.Ptr(aml.ContainerTypeInferenceServer), Tail: to.Ptr[int32](50)}, nil)
	c.must("logs", err)
	if *logs.Content != "default iris blue inference-server line" {
		c.t.Errorf("logs are %q", *logs.Content)
	}
	skus, err := c.NewOnlineDeploymentsClient().NewListSKUsPager(rg, wsName, "iris", "blue", nil).NextPage(c.ctx)
	c.must("skus", err)
	if len(skus.Value) != 1 || *skus.Value[0].Capacity.Maximum != 50 {
		c.t.Errorf("skus: %+v", skus.Value)
	}
}

func (c sdk) keys() {
	client := c.NewOnlineEndpointsClient()
	before, err := client.ListKeys(c.ctx, rg, wsName, "iris", nil)
	c.must("keys", err)
	// The Python client sends the current value along and still means a new one.
	for _, value := range []*string{nil, before.SecondaryKey} {
		poller, err := client.BeginRegenerateKeys(c.ctx, rg, wsName, "iris",
			aml.RegenerateEndpointKeysRequest{KeyType: to.Ptr(aml.KeyTypeSecondary), KeyValue: value}, nil)
		c.must("regenerating", err)
		_, err = poller.PollUntilDone(c.ctx, quick)
		c.must("polling the regeneration", err)
		after, err := client.ListKeys(c.ctx, rg, wsName, "iris", nil)
		c.must("keys", err)
		if *after.PrimaryKey != *before.PrimaryKey || *after.SecondaryKey == *before.SecondaryKey {
			c.t.Error("regenerating the secondary key must change it and nothing else")
		}
		before = after
	}
}

func (c sdk) change() {
	scale, err := c.NewOnlineDeploymentsClient().BeginUpdate(c.ctx, rg, wsName, "iris", "blue",
		aml.PartialMinimalTrackedResourceWithSKU{SKU: &aml.PartialSKU{Capacity: to.Ptr[int32](3)}, Tags: map[string]*string{"t": to.Ptr("1")}}, nil)
	c.must("scaling", err)
	d, err := scale.PollUntilDone(c.ctx, quick)
	c.must("polling the scaling", err)
	if *d.SKU.Capacity != 3 || *d.Tags["t"] != "1" {
		c.t.Errorf("after scaling: capacity %d, tags %v", *d.SKU.Capacity, d.Tags)
	}
	patch, err := c.NewOnlineEndpointsClient().BeginUpdate(c.ctx, rg, wsName, "iris",
		aml.PartialMinimalTrackedResourceWithIdentity{Tags: map[string]*string{"x": to.Ptr("y")}}, nil)
	c.must("patching", err)
	e, err := patch.PollUntilDone(c.ctx, quick)
	c.must("polling the patch", err)
	if len(e.Tags) != 1 || *e.Tags["x"] != "y" {
		c.t.Errorf("tags after the patch: %v", e.Tags)
	}
}

func (c sdk) delete() {
	poller, err := c.NewOnlineDeploymentsClient().BeginDelete(c.ctx, rg, wsName, "iris", "blue", nil)
	c.must("deleting the deployment", err)
	_, err = poller.PollUntilDone(c.ctx, quick)
	c.must("polling the deletion", err)
	endpoint, err := c.NewOnlineEndpointsClient().BeginDelete(c.ctx, rg, wsName, "iris", nil)
	c.must("deleting the endpoint", err)
	_, err = endpoint.PollUntilDone(c.ctx, quick)
	c.must("polling the deletion", err)
	if _, err := c.NewOnlineEndpointsClient().Get(c.ctx, rg, wsName, "iris", nil); err == nil {
		c.t.Error("the endpoint is still there")
	}
	again, err := c.NewOnlineEndpointsClient().BeginDelete(c.ctx, rg, wsName, "iris", nil)
	c.must("deleting what is gone", err)
	_, err = again.PollUntilDone(c.ctx, quick)
	c.must("polling that", err)
}
