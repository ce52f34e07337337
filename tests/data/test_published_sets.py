"""Published sets as they are downloaded: the heads of their manifests, or their folders, with tiny images."""

import shlex
import subprocess
import sys

import pytest
from source_files import dicom, pixels, write, write_bytes

from bench.data.sources.open_source import open_source
from bench.errors import ConfigError


@pytest.fixture
def published(tmp_path):
    """``published(name, text, files)`` -> the path of a manifest of that text, with images beside it."""

    def made(name, text, files):
        write(tmp_path, files)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.strip() + "\n", encoding="utf-8")
        return path

    return made


def columns(found, *names):
    return [tuple(row) for row in found.table[list(names)].to_numpy().tolist()]


def as_typed(error):
    """Run the command that a refusal gives."""
    command = shlex.split(str(error.value).split("`")[1])
    assert command[0] == "python"
    subprocess.run([sys.executable, *command[1:]], check=True)


def test_ham10000(published):
    text = """
lesion_id,image_id,dx,dx_type,age,sex,localization,dataset
HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp,vidir_modern
HAM_0000118,ISIC_0025030,bkl,histo,80.0,male,scalp,vidir_modern
HAM_0002730,ISIC_0026769,bkl,histo,80.0,male,scalp,rosendahl
HAM_0001466,ISIC_0031633,nv,histo,75.0,male,ear,rosendahl
"""
    names = ["ISIC_0027419", "ISIC_0025030", "ISIC_0026769", "ISIC_0031633"]
    files = [f"HAM10000_images_part_{1 + place // 2}/{name}.jpg" for place, name in enumerate(names)]
    found = open_source(str(published("HAM10000_metadata.csv", text, files)), 0, group_by=("sex",))
    assert columns(found, "image", "label", "split_group", "split", "group:sex") == [
        (files[0], "bkl", "HAM_0000118", "", "male"),
        (files[1], "bkl", "HAM_0000118", "", "male"),
        (files[2], "bkl", "HAM_0002730", "", "male"),
        (files[3], "nv", "HAM_0001466", "", "male"),
    ]
    for said in ("image_id is taken as the path", "dx is taken as the label", "lesion_id is taken as the patient"):
        assert any(said in note for note in found.notes)
    assert "lesion, not a patient" in found.patient_rule
    assert "Column dataset names no splits (rosendahl, vidir_modern), so it is not used." in found.notes


def test_isic_2019(published):
    text = """
image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK
ISIC_0000000,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0
ISIC_0000001,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0
ISIC_0000002,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0
ISIC_0000074_downsampled,0.0,0.0,0.0,0.0,1.0,0.0,0.0,0.0,0.0
"""
    names = ["ISIC_0000000", "ISIC_0000001", "ISIC_0000002", "ISIC_0000074_downsampled"]
    files = [f"ISIC_2019_Training_Input/{name}.jpg" for name in names]
    found = open_source(str(published("ISIC_2019_Training_GroundTruth.csv", text, files)), 0)
    assert columns(found, "image", "label") == list(zip(files, ["NV", "NV", "MEL", "BKL"], strict=True))
    assert found.patients_assumed


def test_isic_2020(published):
    text = """
image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target
ISIC_2637011,IP_7279968,male,45.0,head/neck,unknown,benign,0
ISIC_0015719,IP_3075186,female,45.0,upper extremity,nevus,benign,0
ISIC_0052212,IP_2842074,female,50.0,lower extremity,melanoma,malignant,1
"""
    path = published("train.csv", text, [f"jpeg/{n}.jpg" for n in ("ISIC_2637011", "ISIC_0015719", "ISIC_0052212")])
    with pytest.raises(ConfigError, match=r"several columns that may be the label \(target, diagnosis\)"):
        open_source(str(path), 0)
    path = published("train.csv", text.replace("target", "label"), [])
    assert columns(open_source(str(path), 0), "label", "split_group")[2] == ("1", "IP_2842074")


def test_rsna_pneumonia(published, tmp_path):
    text = """
patientId,x,y,width,height,Target
0004cfab-14fd,,,,,0
00436515-870c,264.0,152.0,213.0,379.0,1
00436515-870c,562.0,152.0,256.0,453.0,1
00704310-78a8,695.0,575.0,162.0,137.0,1
"""
    for seed, name in enumerate(("0004cfab-14fd", "00436515-870c", "00704310-78a8")):
        write_bytes(tmp_path / f"stage_2_train_images/{name}.dcm", dicom(pixels(seed), PatientID=name))
    found = open_source(str(published("stage_2_train_labels.csv", text, [])), 0)
    assert columns(found, "image", "label", "split_group") == [
        ("stage_2_train_images/0004cfab-14fd.dcm", "0", "0004cfab-14fd"),
        ("stage_2_train_images/00436515-870c.dcm", "1", "00436515-870c"),
        ("stage_2_train_images/00704310-78a8.dcm", "1", "00704310-78a8"),
    ]
    assert any("1 files stand in several rows" in note for note in found.notes)


NIH = """
Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],\
OriginalImagePixelSpacing[x,y],
00000001_000.png,Cardiomegaly,0,00000001,058Y,M,PA,2682,2749,0.143,0.143,
00000001_001.png,Cardiomegaly|Emphysema,1,00000001,058Y,M,PA,2894,2729,0.143,0.143,
00000001_002.png,Cardiomegaly|Effusion,2,00000001,058Y,M,PA,2500,2048,0.168,0.168,
00000002_000.png,No Finding,0,00000002,081Y,M,PA,2500,2048,0.171,0.171,
"""


def test_nih_chest_x_ray_14_has_several_labels_an_image_and_a_way_out(published, tmp_path):
    files = [f"images_00{1 + n // 3}/images/{n // 3 + 1:08}_{n % 3:03}.png" for n in range(4)]
    path = published("Data_Entry_2017.csv", NIH, files)
    with pytest.raises(ConfigError, match=r"multi-label data: 2 of its 4 rows .* column Finding Labels") as refused:
        open_source(str(path), 0)
    as_typed(refused)
    found = open_source(str(tmp_path / "one-label.csv"), 0)
    assert columns(found, "image", "label", "split_group") == [
        (files[0], "Cardiomegaly", "00000001"),
        (files[1], "Cardiomegaly", "00000001"),
        (files[2], "Cardiomegaly", "00000001"),
        (files[3], "other", "00000002"),
    ]
    assert found.patient_rule == "the Patient ID column of one-label.csv"


CHEXPERT = """
Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Edema,Pleural Effusion,Support Devices
CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,1.0
CheXpert-v1.0-small/train/patient00002/study2/view1_frontal.jpg,Female,87,Frontal,AP,,,-1.0,1.0,
CheXpert-v1.0-small/train/patient00002/study1/view1_frontal.jpg,Female,83,Frontal,AP,,0.0,1.0,1.0,
CheXpert-v1.0-small/train/patient00003/study1/view1_frontal.jpg,Male,41,Frontal,AP,,,,0.0,
"""


def test_chexpert_has_uncertain_labels_and_a_way_out(published, tmp_path):
    path = published(
        "train.csv", CHEXPERT, [line.split("/", 1)[1].split(",")[0] for line in CHEXPERT.split("\n")[2:-1]]
    )
    with pytest.raises(ConfigError, match=r"multi-label data with uncertain labels .*-1 in 1 of 4 rows") as refused:
        open_source(str(path), 0)
    as_typed(refused)
    found = open_source(str(tmp_path / "one-label.csv"), 0, patient_pattern="/(patient[0-9]+)/")
    assert columns(found, "image", "label", "split_group") == [
        ("train/patient00002/study2/view1_frontal.jpg", "Pleural Effusion", "patient00002"),
        ("train/patient00002/study1/view1_frontal.jpg", "Pleural Effusion", "patient00002"),
        ("train/patient00003/study1/view1_frontal.jpg", "no Pleural Effusion", "patient00003"),
    ]


def test_aptos_2019(published):
    text = """
id_code,diagnosis
000c1434d8d7,2
001639a390f0,4
0024cdab0c1e,1
002c21358ce6,0
"""
    names = ["000c1434d8d7", "001639a390f0", "0024cdab0c1e", "002c21358ce6"]
    path = published("train.csv", text, [f"train_images/{name}.png" for name in names])
    found = open_source(str(path), 0)
    assert columns(found, "image", "label") == [
        (f"train_images/{name}.png", label) for name, label in zip(names, "2410", strict=True)
    ]
    assert set(found.table["split"]) == {""}, "the test images of the competition have no labels"


BREAKHIS = [
    f"{kind}/SOB/{tumour}/SOB_{code}_14-{patient}/{zoom}X/SOB_{code}-14-{patient}-{zoom}-00{number}.png"
    for kind, tumour, code, patient in (
        ("benign", "adenosis", "B_A", "22549AB"),
        ("benign", "fibroadenoma", "B_F", "14134"),
        ("malignant", "ductal_carcinoma", "M_DC", "2523"),
        ("malignant", "mucinous_carcinoma", "M_MC", "13418DE"),
    )
    for zoom in (40, 100)
    for number in (1, 2)
]
BREAKHIS_PATTERN = r"SOB_[BM]_\w+-14-(\w+)-"


def test_breakhis(tmp_path):
    write(tmp_path / "BreaKHis_v1/histology_slides/breast", BREAKHIS)
    found = open_source(str(tmp_path / "BreaKHis_v1/histology_slides/breast"), 0, patient_pattern=BREAKHIS_PATTERN)
    assert found.classes == ("benign", "malignant")
    assert found.table["split_group"].nunique() == 4
    assert len(found.table) == len(BREAKHIS)


def test_the_folds_of_breakhis_have_no_label(published):
    text = """
fold,mag,grp,filename
1,40,train,BreaKHis_v1/histology_slides/breast/benign/SOB/adenosis/SOB_B_A_14-22549AB/40X/SOB_B_A-14-22549AB-40-001.png
1,100,test,BreaKHis_v1/histology_slides/breast/benign/SOB/adenosis/SOB_B_A_14-22549AB/100X/SOB_B_A-14-22549AB-100-001.png
"""
    path = published("Folds.csv", text, [f"BreaKHis_v1/histology_slides/breast/{name}" for name in BREAKHIS])
    with pytest.raises(ConfigError, match=r"no column label \(found: fold, mag, grp, filename\)"):
        open_source(str(path), 0)


def test_brain_tumor_mri(tmp_path):
    classes = ("glioma", "meningioma", "notumor", "pituitary")
    files = [f"{split}/{name}/{split[:2]}-{name[:2]}_{number:04}.jpg" for split in ("Training", "Testing")
             for name in classes for number in (10, 11)]  # fmt: skip
    write(tmp_path, files)
    found = open_source(str(tmp_path), 0)
    assert found.classes == classes
    assert found.table["split"].value_counts().to_dict() == {"train": 8, "test": 8}


def test_busi(tmp_path):
    files = [f"{name}/{name} ({number}).png" for name in ("benign", "malignant", "normal") for number in (1, 2)]
    masks = [file.replace(".png", "_mask.png") for file in files] + ["benign/benign (1)_mask_1.png"]
    write(tmp_path / "Dataset_BUSI_with_GT", [*files, *masks])
    for data in (tmp_path, tmp_path / "Dataset_BUSI_with_GT"):
        found = open_source(str(data), 0)
        assert found.classes == ("benign", "malignant", "normal")
        assert len(found.table) == 6
        assert not found.table["image"].str.contains("mask").any()


def test_covid_19_radiography(tmp_path):
    files = [f"{name}/{kind}/{name}-{number}.png" for name in ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")
             for kind in ("images", "masks") for number in (1, 2)]  # fmt: skip
    write(tmp_path / "COVID-19_Radiography_Dataset", files)
    (tmp_path / "COVID-19_Radiography_Dataset/COVID.metadata.xlsx").write_bytes(b"PK\x03\x04")
    found = open_source(str(tmp_path / "COVID-19_Radiography_Dataset"), 0)
    assert found.classes == ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")
    assert sorted(found.table["image"]) == sorted(file for file in files if "/images/" in file)


@pytest.mark.parametrize("organ", ["lung_image_sets", "colon_image_sets"])
def test_lc25000(tmp_path, organ):
    classes = {"lung_image_sets": ("lung_aca", "lung_n", "lung_scc"), "colon_image_sets": ("colon_aca", "colon_n")}
    files = [f"{name}/{name.replace('_', '')}{number}.jpeg" for name in classes[organ] for number in (1, 2)]
    write(tmp_path / "LC25000" / organ, files)
    found = open_source(str(tmp_path / "LC25000" / organ), 0)
    assert found.classes == classes[organ]
    assert found.patients_assumed


def test_oct2017(tmp_path):
    files = [f"{split}/{name}/{name}-{number}-{image}.jpeg"
             for split, number in (("train", 1016042), ("val", 1016042), ("test", 53018))
             for name in ("CNV", "DME", "DRUSEN", "NORMAL") for image in (1, 2)]  # fmt: skip
    files = [file.replace("-1.", "-3.").replace("-2.", "-4.") if file.startswith("val") else file for file in files]
    write(tmp_path, files)
    found = open_source(str(tmp_path), 0)
    assert found.classes == ("CNV", "DME", "DRUSEN", "NORMAL")
    assert found.table["split"].value_counts().to_dict() == {"train": 8, "val": 8, "test": 8}
    assert found.table["split_group"].nunique() == 2
    assert found.table["patient_id"].nunique() == 8
    assert "public OCT file names" in found.patient_rule
