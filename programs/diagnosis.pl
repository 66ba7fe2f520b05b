% What does the patient have? Four networks read the sensors of one patient, and rules derive the diagnosis from the symptoms.
% Only diagnoses are observed.
% What is most urgent hides the rest: of a patient who is short of breath, no answer says whether there is a rash.

nn(fever_net, [P], F, [none, mild, high]) :: fever(P, F).
nn(cough_net, [P], C, [none, dry, wet]) :: cough(P, C).
nn(rash_net, [P]) :: rash(P).
nn(breath_net, [P], B, [calm, short]) :: breath(P, B).

diagnosis(P, D) :- breath(P, short), fever(P, F), cough(P, C), lungs(F, C, D).
diagnosis(P, D) :- breath(P, calm), rash(P), fever(P, F), skin(F, D).
diagnosis(P, D) :- breath(P, calm), \+ rash(P), fever(P, F), cough(P, C), throat(F, C, D).

lungs(none, _, asthma).
lungs(mild, _, bronchitis).
lungs(high, none, bronchitis).
lungs(high, dry, bronchitis).
lungs(high, wet, pneumonia).

skin(none, allergy).
skin(mild, rubella).
skin(high, measles).

throat(high, _, flu).
throat(none, none, healthy).
throat(none, dry, dry_air).
throat(none, wet, cold).
throat(mild, none, exhaustion).
throat(mild, dry, cold).
throat(mild, wet, cold).
