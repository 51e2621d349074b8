"""Uploads as stations send them. Each names its public source; secrets are made up."""

from corechain.protocol.vocabulary import BY_CODE
from corechain_relayer.bridge.formats.clocks import Clock
from corechain_relayer.bridge.formats.registry import FORMATS
from corechain_relayer.bridge.formats.upload import Arrival, Message, Profile, Upload

PASSKEY = "0123456789ABCDEF0123456789ABCDEF"
STATION_KEY = "s3cret-Key"

# pa3hcm.nl/?p=2095: a capture of a WH2650; the PASSKEY and a yearly total are made up.
ECOWITT = (
    f"PASSKEY={PASSKEY}&stationtype=WH2650A_V1.6.8&dateutc=2021-12-24+11:31:57&tempinf=66.0"
    "&humidityin=51&baromrelin=29.565&baromabsin=29.565&tempf=47.8&humidity=91&winddir=261"
    "&windspeedmph=8.95&windgustmph=14.76&solarradiation=57.25&uv=0&rainratein=0.000"
    "&dailyrainin=0.012&yearlyrainin=31.417&wh65batt=0&freq=868M&model=WH2650A"
)
# wiki.wunderground.com, PWS - Upload Protocol: the page's example, with its fields.
WUNDERGROUND = (
    f"ID=KCASANFR5&PASSWORD={STATION_KEY}&dateutc=2021-12-24+10%3A32%3A35&winddir=230"
    "&windspeedmph=12&windgustmph=12&tempf=70&rainin=0&baromin=29.1&dewptf=68.2&humidity=90"
    "&weather=&clouds=&visibility=10&softwaretype=vws%20versionxx&action=updateraw"
)
# api-rrd.madavi.de's sender, as opendata-stuttgart/sensors-software writes it.
SENSOR_COMMUNITY = b"""{"esp8266id":"12331981","software_version":"NRZ-2020-129",
 "sensordatavalues":[{"value_type":"SDS_P1","value":"0.40"},{"value_type":"SDS_P2","value":"0.20"},
 {"value_type":"BME280_temperature","value":"20.47"},
 {"value_type":"BME280_pressure","value":"100613.25"},
 {"value_type":"BME280_humidity","value":"69.02"},{"value_type":"samples","value":"856438"},
 {"value_type":"signal","value":"-58"}]}"""
# thethingsindustries.com/docs/integrations/data-formats: the envelope; f_cnt 0 and f_port 0 are
# left out, as that page says.
TTN = b"""{"end_device_ids":{"device_id":"roof","application_ids":{"application_id":"weather"},
 "dev_eui":"0004A30B001C0530","dev_addr":"00BCB929"},
 "received_at":"2021-12-24T11:31:58.123456789Z",
 "uplink_message":{"session_key_id":"AXA50","frm_payload":"AQ==",
  "decoded_payload":{"temperature":-1.5,"humidity":88,"battery":3.61},
  "normalized_payload":[{"air":{"temperature":-1.5,"relativeHumidity":88,"pressure":1002.3},
   "wind":{"speed":3.4,"direction":270}}],
  "rx_metadata":[{"gateway_ids":{"gateway_id":"roof-gw"},"time":"0001-01-01T00:00:00Z",
   "rssi":-35,"snr":5}],
  "received_at":"2021-12-24T11:31:57.912Z","consumed_airtime":"0.056576s"}}"""
# chirpstack-api 4.18, integration.proto: UplinkEvent in protobuf's JSON.
CHIRPSTACK = b"""{"deduplicationId":"3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
 "time":"2021-12-24T11:31:57.433210+00:00",
 "deviceInfo":{"tenantId":"52f14cd4-c6f1-4fbd-8f87-4025e1d49242","deviceName":"roof",
  "devEui":"0101010101010101","tags":{}},
 "devAddr":"00189440","dr":1,"fPort":1,"data":"qg==",
 "object":{"temperature_1":21.6,"relative_humidity_2":45.5,"barometric_pressure_3":1005.4},
 "rxInfo":[{"gatewayId":"0016c001f153a14c","uplinkId":4217106255,"rssi":-36,"snr":10.5,
  "nsTime":"2021-12-24T11:31:57.433Z"}],"txInfo":{"frequency":867100000}}"""
# docs.helium.com/console/integrations/json-schema, with a decoder's output.
HELIUM = b"""{"app_eui":"6948A4B59F4666AD","dev_eui":"1C29FBD1D2084E21","devaddr":"B5A44869",
 "fcnt":19,"decoded":{"status":"success","payload":[
  {"channel":1,"name":"Temperature","type":103,"unit":"celsius","value":12.4},
  {"channel":2,"name":"Relative Humidity","type":104,"unit":"percent","value":61}]},
 "hotspots":[{"name":"icy-fiery-hippo","reported_at":1640345517123,"rssi":-54,"snr":9.8,
  "spreading":"SF9BW125","status":"success"}],
 "id":"7c523974-4ce7-4a92-948b-55171a6e4d77","name":"Test Me","payload":"SGVsbG8=","port":1,
 "reported_at":1640345517123}"""
# weather.gladstonefamily.net/aprswxnet.html, behind the login line of APRS-IS.
CWOP = (
    b"user CW0003 pass -1 vers test 1.0\r\n"
    b"CW0003>APRS,TCPIP*:/241131z4220.45N/07128.59W_032/005g008t054r001p078P048h50b10245e1w\r\n"
)
# lists.tapr.org, aprssig 2010-11-10: a packet of aprs.fi with a compressed position; its day is
# changed to ours.
CWOP_COMPRESSED = (
    b"N9QGS>APU25N,TCPIP*,qAC,CORE-2:@241131z/;0Q`9,?J_Z!bg001t045r000p000P000h84b10230/"
    b"georgetownscottcountyweather.org {UIV32N}"
)
# OGC 18-088 (SensorThings 1.1), 14.2: the request of the standard, with our dates.
SENSORTHINGS = b"""[{"Datastream":{"@iot.id":1},
 "components":["phenomenonTime","result","FeatureOfInterest/id"],"dataArray@iot.count":2,
 "dataArray":[["2021-12-24T03:31:00-0800",20,1],["2021-12-24T03:31:30-0800",30,1]]},
 {"Datastream":{"@iot.id":2},"components":["phenomenonTime","result","FeatureOfInterest/id"],
 "dataArray@iot.count":2,"dataArray":[["2021-12-24T11:30:00Z/2021-12-24T11:31:00Z",65,1],
 ["2021-12-24T11:31:30Z",-999,1]]}]"""
STREAMS = """
[[rule]]
path = "1"
metric = "air_temperature"
unit = "Cel"
[[rule]]
path = "2"
metric = "relative_humidity"
unit = "%"
"""
# docs.openaq.org/resources/sensors: two sensors of a location; one is a year behind.
OPENAQ = b"""{"meta":{"name":"openaq-api","found":3},"results":[
 {"id":3917,"name":"pm25 \xc2\xb5g/m\xc2\xb3","parameter":{"id":2,"name":"pm25",
  "units":"\xc2\xb5g/m\xc2\xb3"},
  "latest":{"datetime":{"utc":"2021-12-24T11:00:00Z","local":"2021-12-24T04:00:00-07:00"},
  "value":11.7,"coordinates":{"latitude":35.1353,"longitude":-106.584702}}},
 {"id":3918,"name":"o3 ppm","parameter":{"id":10,"name":"o3","units":"ppm"},
  "latest":{"datetime":{"utc":"2021-12-24T11:00:00Z"},"value":0.031}},
 {"id":3919,"name":"temperature f","parameter":{"id":128,"name":"temperature","units":"f"},
  "latest":{"datetime":{"utc":"2020-12-24T11:00:00Z"},"value":41.0}}]}"""
# Type definitions of public clients of WeatherXM's API (Observation).
WEATHERXM = b"""{"observation":{"timestamp":"2021-12-24T12:31:57+01:00","temperature":9.8,
 "feels_like":8.1,"dew_point":7.2,"precipitation_rate":0,"precipitation_accumulated":4.318,
 "humidity":84,"wind_speed":2.61,"wind_gust":4.4,"wind_direction":203,"uv_index":0,
 "pressure":1009.9,"solar_irradiance":57.3,"icon":"rain"},"health":{"data_quality":{"score":1}}}"""
# archive.sensor.community: the head of a BME280 file.
COMMUNITY_CSV = b"""sensor_id;sensor_type;location;lat;lon;timestamp;pressure;temperature;humidity
113;BME280;46;48.809;9.184;2021-12-24T11:29:29;98621.31;7.43;82.10
113;BME280;46;48.809;9.184;2021-12-24T11:31:57;98620.00;nan;82.30
"""

NOBODY = Profile()
AT = 1_640_345_517
"""2021-12-24 11:31:57 UTC."""
CLOCK = Clock(AT + 3)
SAMPLES: dict[str, Message] = {
    "ecowitt": Message(ECOWITT.encode()),
    "wunderground": Message(query=WUNDERGROUND),
    "sensor-community": Message(SENSOR_COMMUNITY, headers={"x-sensor": "esp8266-12331981"}),
    "ttn": Message(TTN),
    "chirpstack": Message(CHIRPSTACK, query="event=up"),
    "helium": Message(HELIUM),
    "cwop": Message(CWOP),
    "sensorthings": Message(SENSORTHINGS),
    "openaq": Message(OPENAQ),
    "weatherxm": Message(WEATHERXM),
}


def read(name: str, message: Message, profile: Profile = NOBODY, clock: Clock = CLOCK) -> Upload:
    """What the format reads from a message."""
    return FORMATS[name].read(Arrival(message, profile, clock))


def values(upload: Upload, at: int = AT) -> dict[str, float]:
    """{metric: value in its unit} of what was measured at a time."""
    found = [item for item in upload.measurements if item.at == at]
    assert found or not upload.measurements
    return {BY_CODE[m].name: BY_CODE[m].from_wire(value) for m, _, value in found}


def totals(upload: Upload) -> dict[str, float]:
    """What counters have counted, in mm."""
    return {item.name: item.total / 100 for item in upload.counters}
