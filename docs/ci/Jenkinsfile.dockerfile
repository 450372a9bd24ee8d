// Jenkins: the image of a Dockerfile in a multibranch pipeline, its steps and the Go caches of them
// in a registry.
// Change REGISTRY and IMAGE. The agent needs Python 3.11 or newer with its venv module, and for RUN
// runc or crun, and user namespaces for its user: `wherry doctor` there says what is missing. The
// credentials registry-writer and registry-reader are of the kind "username with password"; the
// reader may only pull.
pipeline {
    agent any
    environment {
        REGISTRY = 'registry.example.com'
        IMAGE = 'registry.example.com/shop/api'
        // Credentials of this build alone.
        DOCKER_CONFIG = "${env.WORKSPACE_TMP}/docker"
    }
    stages {
        stage('Install wherry') {
            steps {
                sh '''
                    python3 -m venv "$WORKSPACE_TMP/venv"
                    "$WORKSPACE_TMP/venv/bin/pip" install --quiet wherry
                '''
            }
        }
        stage('Image') {
            when { branch 'main' }
            steps {
                withCredentials([usernamePassword(credentialsId: 'registry-writer',
                        usernameVariable: 'REGISTRY_USER', passwordVariable: 'REGISTRY_PASSWORD')]) {
                    sh '''
                        set +x
                        . "$WORKSPACE_TMP/venv/bin/activate"
                        echo "$REGISTRY_PASSWORD" |
                            wherry login "$REGISTRY" -u "$REGISTRY_USER" --password-stdin
                        wherry build --push -t "$IMAGE:$GIT_COMMIT" -t "$IMAGE:latest" \
                            --cache-from "$IMAGE/cache:main" --cache-to "$IMAGE/cache:main"
                        wherry logout "$REGISTRY"
                    '''
                }
            }
        }
        // A pull request has the credentials of a reader, and writes nothing. Its store is its own:
        // what its steps leave in Go caches and cache mounts is not for the main branch.
        stage('Pull request') {
            when { changeRequest() }
            steps {
                withCredentials([usernamePassword(credentialsId: 'registry-reader',
                        usernameVariable: 'REGISTRY_USER', passwordVariable: 'REGISTRY_PASSWORD')]) {
                    sh '''
                        set +x
                        . "$WORKSPACE_TMP/venv/bin/activate"
                        echo "$REGISTRY_PASSWORD" |
                            wherry login "$REGISTRY" -u "$REGISTRY_USER" --password-stdin
                        wherry build --store "$WORKSPACE_TMP/store" --cache-from "$IMAGE/cache:main"
                        wherry logout "$REGISTRY"
                    '''
                }
            }
        }
    }
}
